/**
 * The versions of a tenant's schema, oldest first; version n is `MIGRATIONS[n - 1]`. A released script is never
 * edited: a change is a new entry.
 *
 * Each script runs as one atomic `exec`. Its first statements enter the version into `migration`, so of two
 * processes that meet a new tenant at the same time the second fails on that primary key, with nothing applied,
 * and the scripts need not be repeatable. `PRAGMA user_version` is what the next start reads: it costs no query
 * and needs no table.
 */
export const MIGRATIONS: readonly string[] = [
  `
CREATE TABLE IF NOT EXISTS migration(
  version INTEGER PRIMARY KEY,
  applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;
INSERT INTO migration(version) VALUES (1);

CREATE TABLE counter(
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counter(name, value) VALUES ('ticket', 0);

CREATE TABLE member(
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL
) STRICT;

CREATE TABLE board(
  id TEXT PRIMARY KEY,
  title TEXT NOT NULL,
  order_version INTEGER NOT NULL DEFAULT 0, -- grows with every change of an order on this board
  created_at TEXT NOT NULL
) STRICT;

CREATE TABLE board_column(
  id TEXT PRIMARY KEY,
  board_id TEXT NOT NULL REFERENCES board(id) ON DELETE CASCADE,
  title TEXT NOT NULL,
  position INTEGER NOT NULL,
  card_count INTEGER NOT NULL DEFAULT 0 -- kept by the triggers below
) STRICT;
CREATE INDEX board_column_by_board ON board_column(board_id, position);

CREATE TABLE card(
  id TEXT PRIMARY KEY,
  board_id TEXT NOT NULL REFERENCES board(id) ON DELETE CASCADE,
  column_id TEXT NOT NULL REFERENCES board_column(id) ON DELETE CASCADE,
  ticket INTEGER NOT NULL,
  title TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  member_id TEXT REFERENCES member(id) ON DELETE SET NULL,
  priority TEXT NOT NULL DEFAULT 'normal' CHECK (priority IN ('low', 'normal', 'high')),
  effort INTEGER,
  due_date TEXT,
  position INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX card_ticket ON card(ticket);
CREATE INDEX card_by_column ON card(column_id, position);
CREATE INDEX card_by_board ON card(board_id);
CREATE INDEX card_by_member ON card(member_id);
CREATE INDEX card_by_due_date ON card(due_date) WHERE due_date IS NOT NULL;

CREATE TABLE comment(
  id TEXT PRIMARY KEY,
  card_id TEXT NOT NULL REFERENCES card(id) ON DELETE CASCADE,
  member_id TEXT REFERENCES member(id) ON DELETE SET NULL,
  text TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX comment_by_card ON comment(card_id, created_at);

CREATE TABLE attachment(
  id TEXT PRIMARY KEY,
  comment_id TEXT NOT NULL REFERENCES comment(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  type TEXT NOT NULL,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0)
) STRICT;
CREATE INDEX attachment_by_comment ON attachment(comment_id);

CREATE TABLE tag(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE card_tag(
  card_id TEXT NOT NULL REFERENCES card(id) ON DELETE CASCADE,
  tag_id INTEGER NOT NULL REFERENCES tag(id) ON DELETE CASCADE,
  PRIMARY KEY (card_id, tag_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX card_tag_by_tag ON card_tag(tag_id);

CREATE TABLE activity(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  member_id TEXT, -- no foreign keys: the log outlives what it describes
  action TEXT NOT NULL,
  board_id TEXT,
  card_id TEXT,
  details TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(details)),
  created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;
CREATE INDEX activity_by_card ON activity(card_id);
CREATE INDEX activity_by_board ON activity(board_id);

CREATE TABLE points(
  member_id TEXT NOT NULL REFERENCES member(id) ON DELETE CASCADE,
  year INTEGER NOT NULL,
  month INTEGER NOT NULL CHECK (month BETWEEN 1 AND 12),
  total INTEGER NOT NULL,
  PRIMARY KEY (member_id, year, month)
) STRICT, WITHOUT ROWID;

CREATE TABLE setting(
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER card_counted AFTER INSERT ON card BEGIN
  UPDATE board_column SET card_count = card_count + 1 WHERE id = new.column_id;
END;
CREATE TRIGGER card_discounted AFTER DELETE ON card BEGIN
  UPDATE board_column SET card_count = card_count - 1 WHERE id = old.column_id;
END;
CREATE TRIGGER card_recounted AFTER UPDATE OF column_id ON card WHEN old.column_id <> new.column_id BEGIN
  UPDATE board_column SET card_count = card_count - 1 WHERE id = old.column_id;
  UPDATE board_column SET card_count = card_count + 1 WHERE id = new.column_id;
END;
-- The log is bounded: every hundredth row prunes what is older than the newest 10,000.
CREATE TRIGGER activity_bounded AFTER INSERT ON activity WHEN new.id % 100 = 0 BEGIN
  DELETE FROM activity WHERE id <= new.id - 10000;
END;

PRAGMA user_version = 1;
`,
];

/** The version that this code reads and writes. */
export const SCHEMA_VERSION = MIGRATIONS.length;
