import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/* drizzle-kit's migrations: `drizzle-kit generate` for each version of a schema. Its folder is kept, for Drizzle's own migrator. */

const HEAD = `const { sqliteTable, integer, text, index } = require('drizzle-orm/sqlite-core');
const reference = (name, to, onDelete) => integer(name).references(() => to.id, { onDelete });
`;
const table = (name, columns, more = '') =>
  `const ${name} = sqliteTable('${name}', { id: integer('id').primaryKey(), ${columns} }${more});\n`;
const EXPORTS = 'Object.assign(module.exports, { teams, projects, tasks';
const TEAM = `team: reference('team_id', teams, 'cascade').notNull()`;
const PROJECT = `project: reference('project_id', projects, 'cascade').notNull()`;
const INDEX = `, t => [index('projects_team').on(t.team)]`;
const PLAN = `plan: text('plan').notNull().default('free')`;

const VERSIONS = {
  create: [
    table('teams', `name: text('name')`),
    table('projects', `${TEAM}, name: text('name'), budget: text('budget'), legacy: text('legacy')`),
    table('tasks', `${PROJECT}, title: text('title')`),
    `${EXPORTS} });`,
  ],
  'add-and-rename': [
    table('teams', `name: text('name'), ${PLAN}`),
    table('projects', `${TEAM}, name: text('name'), budget: text('budget'), legacy: text('legacy')`, INDEX),
    table('tasks', `${PROJECT}, subject: text('subject')`),
    `${EXPORTS} });`,
  ],
  'change-and-drop': [
    table('teams', `name: text('name'), ${PLAN}`),
    table('projects', `${TEAM}, name: text('name'), budget: integer('budget').notNull().default(0)`, INDEX),
    table('tasks', `${PROJECT}, subject: text('subject')`),
    `${EXPORTS} });`,
  ],
  'foreign-key': [
    table('people', `email: text('email').notNull()`),
    table('teams', `name: text('name').notNull().unique(), ${PLAN}`),
    table('projects', `${TEAM}, name: text('name'), budget: integer('budget').notNull().default(0)`, INDEX),
    table('tasks', `${PROJECT}, subject: text('subject'), owner: reference('owner_id', people, 'set null')`),
    `${EXPORTS}, people });`,
  ],
};

export async function record({ folder, recording }) {
  const place = join(folder, 'drizzle');
  const out = join(place, 'out');
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place);
  for (const [index, [name, texts]] of Object.entries(VERSIONS).entries()) {
    writeFileSync(join(place, `version-${index}.js`), HEAD + texts.join(''));
    await generate(place, `generate --dialect sqlite --schema version-${index}.js --out out --name ${name}`);
    recording.write(name, readFileSync(join(out, `000${index}_${name}.sql`), 'utf8'));
  }
  const journal = join(out, 'meta', '_journal.json');
  const entries = JSON.parse(readFileSync(journal, 'utf8'));
  for (const entry of entries.entries) entry.when = Date.UTC(2026, 0, 1, entry.idx);
  writeFileSync(journal, `${JSON.stringify(entries, null, 2)}\n`);
  rmSync(recording.folder, { recursive: true });
  cpSync(out, recording.folder, { recursive: true, filter: path => !path.endsWith('_snapshot.json') });
}

/** It asks whether a column is new or renamed, on a terminal alone: `script` gives it one. */
function generate(cwd, words) {
  return new Promise((resolve, reject) => {
    const child = spawn('script', ['-qec', `../node_modules/.bin/drizzle-kit ${words}`, '/dev/null'], {
      cwd,
    });
    let output = '';
    let answered = false;
    child.stdout.on('data', piece => {
      output += piece;
      const asked = output.includes('created or renamed');
      if (!asked || answered) return;
      answered = true;
      child.stdin.write('\x1b[B');
      child.stdout.once('data', () => child.stdin.write('\r'));
    });
    child.on('error', reject);
    child.on('exit', code => (code === 0 ? resolve() : reject(new Error(output))));
  });
}
