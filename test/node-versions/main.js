import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/*
 * `npm run test:node -- 22 24`: a stack of each of these versions of Node runs and is used; see smoke.js. npm's packages
 * `node-<platform>-<arch>` bring Node and its headers, and better-sqlite3 is built for it. Everything runs in a copy of this
 * repository with that binary: processes that read have an environment of their own, so a preload would not reach them.
 * With `--unit` the unit tests of writer and broker run on it, too.
 */

const { positionals: versions, values } = parseArgs({
  allowPositionals: true,
  options: { unit: { type: 'boolean' } },
});
if (versions.length === 0)
  throw new TypeError('Name the versions of Node, for example: npm run test:node -- 22 24');

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
/** What of it is not needed to run: history, caches, data of `npm start`. */
const NOT_COPIED = new Set(['.git', '.turbo', '.onewriter']);
const SQLITE = createRequire(import.meta.url)('better-sqlite3/package.json').version;

let failed = 0;
for (const version of versions) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-node-'));
  try {
    const { env, copy } = await install(version, folder);
    await run('node', ['test/node-versions/smoke.js'], env, copy);
    if (values.unit) {
      const vitest = 'node_modules/vitest/vitest.mjs';
      await run('node', [vitest, 'run', '--project', 'unit', 'workers', 'shared'], env, copy);
    }
    console.log(`Node ${version}: ok`);
  } catch (error) {
    failed++;
    console.error(`Node ${version}: ${/** @type {Error} */ (error).message}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
process.exitCode = failed === 0 ? 0 : 1;

/**
 * Installs a version of Node, and copies the repository with SQLite's binary for it.
 * @param {string} version
 * @param {string} folder
 * @returns {Promise<{ env: NodeJS.ProcessEnv, copy: string }>} the environment in which `node` is that version, and the copy.
 */
async function install(version, folder) {
  const name = `node-${process.platform}-${process.arch}`;
  const npm = ['install', '--silent', '--no-audit', '--no-fund', '--prefix'];
  const place = join(folder, 'node');
  mkdirSync(place);
  await run('npm', [...npm, place, '--ignore-scripts', `${name}@${version}`]);
  const home = join(place, 'node_modules', name);
  const path = `${join(home, 'bin')}${delimiter}${process.env.PATH}`;

  const packages = join(folder, 'packages');
  mkdirSync(packages);
  const dependencies = { 'better-sqlite3': SQLITE };
  const manifest = { private: true, dependencies, allowScripts: { 'better-sqlite3': true } };
  writeFileSync(join(packages, 'package.json'), JSON.stringify(manifest));
  // Where there is no binary to be had it is compiled, with the headers that came with Node.
  await run('npm', [...npm, packages], { ...process.env, PATH: path, npm_config_nodedir: home });
  const build = join(packages, 'node_modules/better-sqlite3/build');
  if (!existsSync(join(build, 'Release/better_sqlite3.node')))
    throw new Error('better-sqlite3 was not built.');

  const copy = join(folder, 'onewriter');
  mkdirSync(copy);
  for (const name of readdirSync(REPOSITORY)) {
    // npm's links to the workspaces are relative, and point into the copy where they are kept as they are.
    if (!NOT_COPIED.has(name))
      cpSync(join(REPOSITORY, name), join(copy, name), { recursive: true, verbatimSymlinks: true });
  }
  const installed = join(copy, 'node_modules/better-sqlite3/build');
  rmSync(installed, { recursive: true });
  cpSync(build, installed, { recursive: true });
  const env = { ...process.env, PATH: path };
  const { version: exact } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'));
  console.log(`Node ${exact} and better-sqlite3 ${SQLITE} for it are in ${folder}`);
  return { env, copy };
}

/**
 * @param {string} file
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @param {string} [cwd]
 * @returns {Promise<void>}
 */
function run(file, args, env = process.env, cwd = REPOSITORY) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${file} ${args.join(' ')} ended with ${signal ?? code}.`));
    });
  });
}
