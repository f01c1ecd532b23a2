import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/* Prisma's migrations: `prisma migrate diff` between two versions of a schema. */

const model = (name, ...lines) => `model ${name} {\n  id Int @id\n  ${lines.join('\n  ')}\n}\n`;
const to = (name, table, onDelete, optional = '') =>
  `${name}_id Int${optional}\n  ${name} ${table}${optional} @relation(fields: [${name}_id], references: [id], onDelete: ${onDelete})`;
const team = (...lines) => model('teams', ...lines, 'projects projects[]');
const project = (...lines) => model('projects', to('team', 'teams', 'Cascade'), ...lines, 'tasks tasks[]');
const task = (...lines) => model('tasks', to('project', 'projects', 'Cascade'), ...lines);
const INDEX = '@@index([team_id], map: "projects_team")';
const PLAN = `plan String @default("free")`;
const NAMES = ['name String?', 'budget String?', 'legacy String?'];

const VERSIONS = {
  create: [team('name String?'), project(...NAMES), task('title String?')],
  'add-and-rename': [team('name String?', PLAN), project(...NAMES, INDEX), task('subject String?')],
  'change-and-drop': [
    team('name String?', PLAN),
    project('name String?', 'budget Int @default(0)', INDEX),
    task('subject String?'),
  ],
  'foreign-key': [
    team('name String @unique', PLAN),
    project('name String?', 'budget Int @default(0)', INDEX),
    task('subject String?', to('owner', 'people', 'SetNull', '?')),
    model('people', 'email String', 'tasks tasks[]'),
  ],
};

/** With the engine that is in the package; the other one is a program that it would download. */
const CONFIG = `import { PrismaBetterSQLite3 } from '@prisma/adapter-better-sqlite3';
export default {
  experimental: { adapter: true },
  engine: 'js',
  adapter: async () => new PrismaBetterSQLite3({ url: ':memory:' }),
};
`;

export async function record({ folder, recording }) {
  const place = join(folder, 'prisma');
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'prisma.config.mjs'), CONFIG);
  // The engines that it would download are not used, and may be any file.
  const other = join(place, 'prisma.config.mjs');
  const env = { ...process.env, PRISMA_QUERY_ENGINE_LIBRARY: other, PRISMA_SCHEMA_ENGINE_BINARY: other };
  let from = ['--from-empty'];
  for (const [name, models] of Object.entries(VERSIONS)) {
    const schema = join(place, `${name}.prisma`);
    writeFileSync(
      schema,
      `datasource db {\n provider = "sqlite"\n url = ":memory:"\n}\n${models.join('\n')}\n`,
    );
    const command = ['migrate', 'diff', ...from, '--to-schema-datamodel', schema, '--script'];
    const sql = execFileSync('../node_modules/.bin/prisma', command, {
      cwd: place,
      encoding: 'utf8',
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    recording.write(name, name === 'add-and-rename' ? rename(sql) : sql);
    from = ['--from-schema-datamodel', schema];
  }
}

const REBUILD_OF_TASKS = /CREATE TABLE "new_tasks"[\s\S]*?ALTER TABLE "new_tasks" RENAME TO "tasks";/;

/** Prisma cannot see that a column is renamed: its users put ALTER in the place of the rebuild, as its documentation says. */
function rename(sql) {
  return sql.replace(REBUILD_OF_TASKS, 'ALTER TABLE "tasks" RENAME COLUMN "title" TO "subject";');
}
