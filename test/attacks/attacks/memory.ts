import { type Attack, ended, pause, type Target } from '../rig.ts';

/* Attacks with statements that ask for all the memory there is. */

/** A write for which the broker is replaced, once: its spare takes over. All others run apart. */
const REPLACED_MS = 1_000;
/** Tenants of one token. */
const MANY = 8;
/** Until all of them are stopped, one after the other. */
const ALL_RUN_S = 12;
/** ONEWRITER_READ_TIMEOUT_MS: until then a read gathers. */
const ONE_READ_S = 10;
/** 1 GB: the largest value of SQLite. */
const LARGEST = "replace(hex(zeroblob(50000000)), '0', 'xxxxxxxxxx')";
const HEAVY = `INSERT INTO t(v) SELECT length(${LARGEST})`;
/** A text that doubles with each row. */
const DOUBLING =
  "WITH RECURSIVE c(i, s) AS (SELECT 1, 'xxxxxxxx' UNION ALL SELECT i + 1, s || s FROM c WHERE i < 27) SELECT max(length(s)) FROM c";
/** 5 GB in small pieces. */
const GATHERED =
  'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 50000) SELECT count(x) FROM ' +
  `(SELECT ${Array.from({ length: 10 }, () => 'group_concat(hex(zeroblob(5000)))').join(' || ')} AS x FROM c)`;
const SORTED =
  'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 50000) SELECT count(*) FROM ' +
  '(SELECT hex(randomblob(1600)) AS x FROM c ORDER BY x LIMIT 20000 OFFSET 10000)';

/** Sends a statement again and again, several at a time. */
async function repeat(target: Target, count: number, sql: string, access: 'read' | 'write'): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async () => {
      while (!target.signal.aborted) {
        await target.ask(`/v1/tenants/${target.tenant}/query`, { sql }, { access });
        await pause(50);
      }
    }),
  );
}

function writes(name: string, summary: string, select: string, stallMs?: number): Attack {
  const sql = `INSERT INTO t(v) ${select}`;
  return { name, summary, stallMs, worstMs: stallMs, run: target => repeat(target, 4, sql, 'write') };
}

export const oneHeavyWrite: Attack = {
  name: 'one-heavy-write',
  summary: 'one write that computes a value of 1 GB',
  leastSeconds: ALL_RUN_S,
  stallMs: REPLACED_MS,
  worstMs: REPLACED_MS,
  async run(target) {
    await target.ask(`/v1/tenants/${target.tenant}/query`, { sql: HEAVY });
    await ended(target.signal);
  },
};

export const heavyWrites: Attack = {
  name: 'heavy-writes-of-many',
  summary: 'a write that computes a value of 1 GB in each of eight tenants of one token, all at once',
  tenants: MANY,
  leastSeconds: ALL_RUN_S,
  stallMs: REPLACED_MS,
  worstMs: REPLACED_MS,
  async run(target) {
    await Promise.all(
      target.tenants.map(tenant => target.ask(`/v1/tenants/${tenant}/query`, { sql: HEAVY })),
    );
    await ended(target.signal);
  },
};

export const heavyWrite = writes(
  'heavy-write',
  'writes that compute a value of 1 GB',
  `SELECT length(${LARGEST})`,
  REPLACED_MS,
);

export const doublingWrite = writes('doubling-write', 'writes that double a text', DOUBLING, REPLACED_MS);

export const gatheringWrite = writes(
  'gathering-write',
  'writes that gather 5 GB in small pieces',
  GATHERED,
  REPLACED_MS,
);

export const sortingWrite = writes('sorting-write', 'writes that sort 160 MB', SORTED);

export const heavyRead: Attack = {
  name: 'heavy-read',
  summary: 'reads by key of a view that computes a value of 1 GB',
  schema: `INSERT OR IGNORE INTO t(id, v) VALUES (1, 1); CREATE VIEW IF NOT EXISTS w AS SELECT id, length(${LARGEST}) AS y FROM t;`,
  run: target => repeat(target, 8, 'SELECT y FROM w WHERE id = 1', 'read'),
};

export const gatheringRead: Attack = {
  name: 'gathering-read',
  summary: 'reads that gather 5 GB in small pieces',
  leastSeconds: ONE_READ_S,
  run: target => repeat(target, 8, GATHERED, 'read'),
};
