/** A script whose database takes most of a minute to look at: each view has the one before it twice. */
export function slowSchema(): string {
  const views = Array.from(
    { length: 15 },
    (_, n) => `CREATE VIEW v${n + 1} AS SELECT x.a FROM v${n} x, v${n} y`,
  );
  return ['CREATE TABLE t(a)', 'INSERT INTO t VALUES (1)', 'CREATE VIEW v0 AS SELECT 1 AS a', ...views].join(
    ';',
  );
}
