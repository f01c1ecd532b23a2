import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Recording, recordingModule } from './recording.js';

/*
 * Makes the recorded migrations again:
 *
 *   npm run migrations -- [tool…]
 *
 * Installs the versions of tools.json into a temporary folder. Each tool migrates a plain file with the rows of seed.sql.
 */

const HERE = dirname(fileURLToPath(import.meta.url));
const FIXTURES = dirname(HERE);
const TOOLS = {
  drizzle: 'drizzle-kit',
  knex: 'knex',
  mikro: '@mikro-orm/core',
  prisma: 'prisma',
  sequelize: 'sequelize',
  typeorm: 'typeorm',
};

const asked = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'onewriter-migrations-'));
try {
  const versions = JSON.parse(readFileSync(join(HERE, 'tools.json'), 'utf8'));
  installTools(versions);
  const load = createRequire(join(folder, 'main.cjs'));
  for (const name of asked.length > 0 ? asked : Object.keys(TOOLS)) await make(name, load, versions);
} finally {
  rmSync(folder, { recursive: true });
}

function installTools(dependencies) {
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies }));
  // Without scripts: the SQLite that they record is the one of this repository.
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--legacy-peer-deps'], {
    cwd: folder,
    stdio: 'inherit',
  });
  const real = createRequire(import.meta.url).resolve('better-sqlite3');
  const place = join(folder, 'node_modules', 'better-sqlite3');
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place);
  writeFileSync(
    join(place, 'package.json'),
    JSON.stringify({ name: 'better-sqlite3', version: '12.11.1', main: 'index.js' }),
  );
  writeFileSync(join(place, 'index.js'), recordingModule(real));
}

async function make(name, load, versions) {
  const { record } = await import(`./${name}.js`);
  const file = join(folder, `${name}.db`);
  const Database = load('better-sqlite3');
  const recording = new Recording(join(FIXTURES, 'recorded', name), steps => {
    if (steps > 1) return;
    const db = new Database(file);
    db.exec(readFileSync(join(FIXTURES, 'seed.sql'), 'utf8'));
    db.close();
  });
  globalThis.recording = recording;
  await record({ load, file, folder, recording, Database });
  const tool = TOOLS[name];
  const made = { tool, version: versions[tool] };
  writeFileSync(join(FIXTURES, 'recorded', name, 'tool.json'), `${JSON.stringify(made, null, 2)}\n`);
  process.stdout.write(`${name}: ${tool} ${made.version}\n`);
}
