import { createRandom } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { FEATURES, type Sketch } from './features.ts';

const NAMES = Object.keys(FEATURES);
const MAX_FEATURES = 6;

/** What a seed makes. */
export interface MadeDatabase {
  readonly features: readonly string[];
  readonly encoding: string;
}

/**
 * Makes a database with a schema of its own and rows of all kinds. Each seed begins with another feature, so that as many
 * seeds as there are features have all of them.
 * @param path must not exist
 */
export function makeDatabase(path: string, seed: number): MadeDatabase {
  const random = createRandom(seed * 7_919 + 17);
  const features = [NAMES[seed % NAMES.length]!];
  while (features.length < MAX_FEATURES && random.chance(0.75)) features.push(random.pick(NAMES));
  const encoding = random.chance(0.1) ? random.pick(['UTF-16le', 'UTF-16be']) : 'UTF-8';
  const db = new Database(path);
  try {
    db.pragma('foreign_keys = OFF');
    db.pragma(`encoding = '${encoding}'`);
    db.exec('BEGIN');
    for (const [n, feature] of features.entries()) {
      FEATURES[feature]!({ random, n, run: run(db, encoding), runUnsafely: unsafely(db) });
    }
    db.exec('COMMIT');
    if (random.chance(0.2)) db.exec('VACUUM');
    db.pragma('journal_mode = WAL');
  } finally {
    db.close();
  }
  return { features, encoding };
}

/** Text of a UTF-16 file that is not UTF-16 has no form in another encoding: it is left out there. */
function run(db: Database.Database, encoding: string): Sketch['run'] {
  return sql => {
    db.exec(encoding === 'UTF-8' ? sql : sql.replace(/CAST\(x'\w*' AS TEXT\)/g, "'not UTF-16'"));
  };
}

function unsafely(db: Database.Database): Sketch['runUnsafely'] {
  return sql => {
    db.unsafeMode(true);
    try {
      db.exec(sql);
    } finally {
      db.unsafeMode(false);
    }
  };
}
