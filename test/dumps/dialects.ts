/*
 * SQL as tools write it. Each makes `users` with Ada and Bob, and `posts` with one of Ada's, and what the tool has of its own.
 */

/** Dumps and migrations, by the tool. */
export const DIALECTS: Readonly<Record<string, string>> = {
  'turso db shell .dump': `PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL);
INSERT INTO users VALUES(1,'Ada');
INSERT INTO users VALUES(2,'Bob');
CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER REFERENCES users(id) ON DELETE CASCADE, title TEXT);
INSERT INTO posts VALUES(1,1,'It''s; here');
CREATE TABLE sqlite_sequence(name,seq);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('users',2);
CREATE INDEX posts_author ON posts (author);
COMMIT;
`,
  // One table after the other by name: rows come before the table that they refer to, and before the indexes.
  'wrangler d1 export': `PRAGMA defer_foreign_keys=TRUE;
CREATE TABLE d1_migrations(
\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,
\t\tname       TEXT UNIQUE,
\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
);
INSERT INTO "d1_migrations" ("id","name","applied_at") VALUES(1,'0001_init.sql','2026-01-02 03:04:05');
CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER REFERENCES users(id) ON DELETE CASCADE, title TEXT);
INSERT INTO "posts" ("id","author","title") VALUES(1,1,'It''s; here');
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL);
INSERT INTO "users" ("id","name") VALUES(1,'Ada');
INSERT INTO "users" ("id","name") VALUES(2,'Bob');
DELETE FROM sqlite_sequence;
INSERT INTO "sqlite_sequence" ("name","seq") VALUES('d1_migrations',1);
INSERT INTO "sqlite_sequence" ("name","seq") VALUES('users',2);
CREATE INDEX posts_author ON posts (author);
`,
  'drizzle-kit generate': `CREATE TABLE \`posts\` (
\t\`id\` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
\t\`author\` integer,
\t\`title\` text,
\tFOREIGN KEY (\`author\`) REFERENCES \`users\`(\`id\`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE \`users\` (
\t\`id\` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
\t\`nick\` text
);
--> statement-breakpoint
INSERT INTO \`users\`("id", "nick") VALUES (1, 'Ada'), (2, 'Bob');--> statement-breakpoint
INSERT INTO \`posts\`("author", "title") VALUES (1, 'It''s; here');--> statement-breakpoint
PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE \`__new_users\` (
\t\`id\` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
\t\`name\` text NOT NULL
);
--> statement-breakpoint
INSERT INTO \`__new_users\`("id", "name") SELECT "id", "nick" FROM \`users\`;--> statement-breakpoint
DROP TABLE \`users\`;--> statement-breakpoint
ALTER TABLE \`__new_users\` RENAME TO \`users\`;--> statement-breakpoint
PRAGMA foreign_keys=ON;--> statement-breakpoint
CREATE UNIQUE INDEX \`users_name_unique\` ON \`users\` (\`name\`);`,
  'prisma migrate': `-- CreateTable
CREATE TABLE "users" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT
);

-- CreateTable
CREATE TABLE "posts" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "author" INTEGER,
    "title" TEXT,
    CONSTRAINT "posts_author_fkey" FOREIGN KEY ("author") REFERENCES "users" ("id") ON DELETE CASCADE ON UPDATE CASCADE
);
INSERT INTO "users" ("id") VALUES (1), (2);
INSERT INTO "posts" ("author", "title") VALUES (1, 'It''s; here');

-- RedefineTables
PRAGMA defer_foreign_keys=ON;
PRAGMA foreign_keys=OFF;
CREATE TABLE "new_users" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "name" TEXT NOT NULL DEFAULT 'Ada'
);
INSERT INTO "new_users" ("id") SELECT "id" FROM "users";
DROP TABLE "users";
ALTER TABLE "new_users" RENAME TO "users";
PRAGMA foreign_keys=ON;
PRAGMA defer_foreign_keys=OFF;
UPDATE "users" SET "name" = 'Bob' WHERE "id" = 2;
`,
};
