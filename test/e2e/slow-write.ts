import Database from 'better-sqlite3';

let stepsPerMs: number | undefined;

/**
 * SQL of one INSERT of `n` into the table `t(n)` that keeps its thread busy for about `ms` milliseconds on this
 * machine, by counting.
 */
export function slowInsert(n: number, ms: number): string {
  stepsPerMs ??= measure();
  return `INSERT INTO t(n) SELECT ${n} WHERE (${count(Math.ceil(stepsPerMs * ms))}) > 0`;
}

function count(steps: number): string {
  return `WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c LIMIT ${steps}) SELECT count(*) FROM c`;
}

/** How far SQLite counts in a millisecond. */
function measure(): number {
  const memory = new Database(':memory:');
  const steps = 300_000;
  const startedAt = performance.now();
  memory.prepare(count(steps)).get();
  const tookMs = performance.now() - startedAt;
  memory.close();
  return steps / tookMs;
}
