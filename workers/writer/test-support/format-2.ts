/** What a broker of format 2 does with a file in which it finds none of its tables, word for word. */
export const FORMAT_2 = `
CREATE TABLE IF NOT EXISTS _onewriter_state(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  commit_seq INTEGER NOT NULL,
  synchronous TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS _onewriter_ledger(
  id INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  commit_seq INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  next_op INTEGER,
  results TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS _onewriter_jobs(
  job_id TEXT PRIMARY KEY,
  id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _onewriter_keys(
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  job_id TEXT NOT NULL,
  op INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  result TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS _onewriter_marks(
  id INTEGER PRIMARY KEY,
  clock_id TEXT NOT NULL,
  clock INTEGER NOT NULL,
  ledger_id INTEGER NOT NULL,
  key_id INTEGER NOT NULL,
  added_at INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO _onewriter_state VALUES (1, 2, 0, 0, 'full');
UPDATE _onewriter_state SET epoch = 1 WHERE id = 1;
`;
