import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { REPOSITORY } from './run-command.js';

/*
 * Writes a lua-scripts.ts into each folder that has .lua files: a constant per script, so that they are in the built packages, in
 * images and in bundles without a step that copies files. They are not committed: each build writes them (turbo.json), and so does
 * vitest.config.ts, for tests that run before a build.
 *
 *   fetch-jobs.lua        becomes FETCH_JOBS, its first comment the docs, without comments
 *   fence.part.lua        has no constant: it is included
 *   --include fence.part.lua                                      from the same folder
 *   --include @onewriter/tenants/holders/now.part.lua             from src/holders of that package
 */

const ROOMS = ['shared', 'workers', 'apps'];
const OUTPUT = 'lua-scripts.ts';

/** The generated files: path and content. */
export function generateLuaScripts() {
  const folders = new Map();
  for (const path of findLuaFiles()) {
    const folder = dirname(path);
    if (!folders.has(folder)) folders.set(folder, []);
    if (!path.endsWith('.part.lua')) folders.get(folder).push(path);
  }
  return [...folders]
    .filter(([, paths]) => paths.length > 0)
    .map(([folder, paths]) => ({ path: join(folder, OUTPUT), content: toModule(paths.sort()) }));
}

function findLuaFiles() {
  return ROOMS.flatMap(room =>
    readdirSync(join(REPOSITORY, room), { withFileTypes: true })
      .filter(entry => entry.isDirectory())
      .flatMap(({ name }) => listFiles(join(REPOSITORY, room, name, 'src'))),
  ).filter(path => path.endsWith('.lua'));
}

function listFiles(folder) {
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  return entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
}

function toModule(paths) {
  const constants = paths.map(path => {
    const { docs, code } = splitDocs(readFileSync(path, 'utf8'));
    const name = basename(path, '.lua').toUpperCase().replaceAll('-', '_');
    const text = expand(code, path).replaceAll('\\', '\\\\').replaceAll('`', '\\`').replaceAll('${', '\\${');
    return `${toDocs(docs)}export const ${name} = \`\n${text}\`;\n`;
  });
  return `// Generated from the .lua files beside it, and not committed: npm run lua.\n\n${constants.join('\n')}`;
}

/** The comment at the top of a script, and the rest. */
function splitDocs(text) {
  const lines = text.split('\n');
  const isDocs = line => line.startsWith('--') && !line.startsWith('--include ');
  const end = lines.findIndex(line => !isDocs(line));
  return { docs: lines.slice(0, end).map(line => line.replace(/^-- ?/, '')), code: lines.slice(end) };
}

function toDocs(lines) {
  if (lines.length === 0) return '';
  if (lines.length === 1) return `/** ${lines[0]} */\n`;
  return `/**\n${lines.map(line => ` * ${line}`.trimEnd()).join('\n')}\n */\n`;
}

/** Replaces includes, and leaves out comments and empty lines: Redis reads the whole text. */
function expand(lines, path) {
  return lines
    .flatMap(line => {
      const [, indent, name] = /^( *)--include (\S+)$/.exec(line) ?? [];
      if (name !== undefined) {
        const included = resolveInclude(name, path);
        const { code } = splitDocs(readFileSync(included, 'utf8'));
        return [`${expand(code, included).replace(/^(?=.)/gm, indent)}`.trimEnd()];
      }
      return /^\s*(--.*)?$/.test(line) ? [] : [line];
    })
    .join('\n')
    .concat('\n');
}

function resolveInclude(name, path) {
  const [, owner, rest] = /^@onewriter\/([\w-]+)\/(.+)$/.exec(name) ?? [];
  if (owner === undefined) return join(dirname(path), name);
  const room = ROOMS.find(each => readdirSync(join(REPOSITORY, each)).includes(owner));
  if (room === undefined) throw new Error(`${relative(REPOSITORY, path)} includes ${name}: no such package.`);
  return join(REPOSITORY, room, owner, 'src', rest);
}

/** Writes the files that are not as their scripts make them. */
export function writeLuaScripts() {
  for (const { path, content } of generateLuaScripts())
    if (!existsSync(path) || readFileSync(path, 'utf8') !== content) writeFileSync(path, content);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeLuaScripts();
