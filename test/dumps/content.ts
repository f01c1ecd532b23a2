import { createHash } from 'node:crypto';
import Database from 'better-sqlite3';

/** What a file holds: a hash for each table, and other things by name, so that a difference says where it is. */
export type Content = Readonly<Record<string, string | number>>;

interface Table {
  readonly name: string;
  readonly type: 'table' | 'virtual' | 'shadow';
  readonly sql: string;
}

const OWN = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
/** Values that say the same in other bytes: how full text and boxes are spread over pages is not what they hold. */
const PAGES = /^(?:.*_(?:data|idx|node|rowid|parent|segments|segdir|stat|content))$/;

/** Looks into a file without any code of the exports: bytes of texts, bits of reals, row ids, terms of full text. */
export function readContent(path: string): Content {
  const db = new Database(path);
  try {
    const content: Record<string, string | number> = {
      user_version: db.pragma('user_version', { simple: true }) as number,
      application_id: db.pragma('application_id', { simple: true }) as number,
    };
    const tables = db
      .prepare<[], Table>(
        `SELECT m.name, l.type, m.sql FROM (SELECT * FROM sqlite_schema WHERE type = 'table' AND ${OWN}) m
           JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name ORDER BY m.name`,
      )
      .all();
    for (const table of tables) Object.assign(content, readTable(db, table));
    const entries = db
      .prepare<[], { type: string; name: string; tbl_name: string; sql: string | null }>(
        `SELECT * FROM sqlite_schema WHERE ${OWN} AND ${OWN.replaceAll('name', 'tbl_name')}`,
      )
      .all();
    for (const { type, name, tbl_name, sql } of entries)
      content[`${type} ${name}`] = `${tbl_name}: ${withoutLastComment(sql)}`;
    if (has(db, 'sqlite_sequence')) {
      content['sqlite_sequence'] = hashRows(db, ['name', 'seq'], 'FROM sqlite_sequence ORDER BY name');
    }
    if (has(db, 'sqlite_stat1')) {
      const where = `WHERE ${OWN.replaceAll('name', 'tbl')}`;
      const from = `FROM sqlite_stat1 ${where} ORDER BY tbl, idx, stat`;
      content['sqlite_stat1'] = hashRows(db, ['tbl', 'idx', 'stat'], from);
    }
    const problems = db.prepare<[], string>('PRAGMA integrity_check').pluck().all();
    content['integrity'] = problems.sort().join('; ');
    return content;
  } finally {
    db.close();
  }
}

/** A script is cut into its statements without what stands between them. */
function withoutLastComment(sql: string | null): string | undefined {
  return sql?.replace(/\s*--[^\n]*$/, '');
}

function has(db: Database.Database, name: string): boolean {
  return db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(name) !== undefined;
}

function readTable(db: Database.Database, { name, type, sql }: Table): Content {
  const quoted = quote(name);
  const rows = `rows of ${name}`;
  const columns = db
    .prepare<[string], string>('SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid')
    .pluck()
    .all(name);
  const names = columns.map(quote);
  if (type === 'shadow') {
    return PAGES.test(name) ? {} : { [rows]: hashRows(db, names, `FROM ${quoted} ORDER BY 1`) };
  }
  if (type === 'table') {
    const rowid = rowidOf(db, name, columns);
    return { [rows]: hashRows(db, [...rowid, ...names], `FROM ${quoted} NOT INDEXED`) };
  }
  if (/using (dbstat|fts5vocab|fts4aux)/i.test(sql)) return {};
  const content: Record<string, string> = {};
  if (!/content=/.test(sql)) {
    const isBox = /using rtree/i.test(sql);
    const more = [...(isBox ? [] : ['rowid']), ...(/languageid/.test(sql) ? ['lid'] : [])];
    content[rows] = hashRows(db, [...more, ...names], `FROM ${quoted} ORDER BY ${isBox ? 'id' : 'rowid'}`);
  }
  if (/using fts/i.test(sql)) {
    const five = /using fts5/i.test(sql);
    const module = five ? `fts5vocab(main, ${quoted}, instance)` : `fts4aux(main, ${quoted})`;
    db.exec(`DROP TABLE IF EXISTS temp.terms; CREATE VIRTUAL TABLE temp.terms USING ${module}`);
    content[`terms of ${name}`] = hashRows(
      db,
      five ? ['term', 'doc', 'col', '"offset"'] : ['term', 'col', 'documents', 'occurrences'],
      'FROM temp.terms ORDER BY 1, 2, 3, 4',
    );
    db.exec('DROP TABLE temp.terms');
  }
  return content;
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** The row id, where it is not one of the columns. */
function rowidOf(db: Database.Database, table: string, columns: readonly string[]): string[] {
  const find = db.prepare<[string], number>('SELECT wr FROM pragma_table_list WHERE name = ?').pluck();
  const taken = columns.map(column => column.toLowerCase());
  const rowid = ['rowid', '_rowid_', 'oid'].find(name => !taken.includes(name));
  return find.get(table) === 1 || rowid === undefined ? [] : [rowid];
}

/** The driver decodes text with losses, so its bytes are read, too. */
function hashRows(db: Database.Database, columns: readonly string[], from: string): string {
  const encoding = db.pragma('encoding', { simple: true }) as string;
  const hash = createHash('sha256');
  let rows = 0;
  const bytes = columns.map(column => `CAST(${column} AS BLOB)`);
  const statement = db.prepare<[], unknown[]>(`SELECT ${[...columns, ...bytes].join(', ')} ${from}`);
  for (const row of statement.raw(true).safeIntegers(true).iterate()) {
    for (const [index] of columns.entries()) {
      hash.update(toBytes(row[index], row[columns.length + index] as Buffer | null, encoding));
    }
    rows++;
  }
  return `${rows} rows ${hash.digest('hex').slice(0, 16)}`;
}

function toBytes(value: unknown, text: Buffer | null, encoding: string): Buffer {
  if (value === null) return Buffer.from('n');
  if (typeof value === 'bigint') return Buffer.from(`i${value};`);
  if (typeof value === 'number') {
    const bits = Buffer.alloc(9, 'f');
    bits.writeDoubleBE(value, 1);
    return bits;
  }
  if (typeof value === 'string') {
    let bytes = text ?? Buffer.alloc(0);
    if (encoding !== 'UTF-8') bytes = Buffer.from(value, 'utf8');
    return Buffer.concat([Buffer.from(`t${bytes.length}:`), bytes]);
  }
  return Buffer.concat([Buffer.from(`b${(value as Buffer).length}:`), value as Buffer]);
}

/** What differs, by name. @param only what is compared; default: all */
export function compareContent(
  expected: Content,
  actual: Content,
  only: (name: string) => boolean = () => true,
): string[] {
  return [...new Set([...Object.keys(expected), ...Object.keys(actual)])]
    .filter(name => only(name) && expected[name] !== actual[name])
    .map(name => `${name}: ${expected[name] ?? 'nothing'} became ${actual[name] ?? 'nothing'}`);
}
