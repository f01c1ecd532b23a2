import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/*
 * `npm run test:node -- 22 24`: a stack of each of these versions of Node runs and is used; see smoke.js. npm's packages
 * `node-<platform>-<arch>` bring Node and its headers, better-sqlite3 is built for it in a folder of its own. With
 * `--unit` the unit tests of writer and broker run on it, too.
 */

const { positionals: versions, values } = parseArgs({
  allowPositionals: true,
  options: { unit: { type: 'boolean' } },
});
if (versions.length === 0)
  throw new TypeError('Name the versions of Node, for example: npm run test:node -- 22 24');

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const SMOKE = fileURLToPath(new URL('smoke.js', import.meta.url));
const SQLITE = createRequire(import.meta.url)('better-sqlite3/package.json').version;

let failed = 0;
for (const version of versions) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-node-'));
  try {
    const env = await install(version, folder);
    await run('node', [SMOKE], env);
    if (values.unit) {
      const vitest = join(REPOSITORY, 'node_modules/vitest/vitest.mjs');
      await run('node', [vitest, 'run', '--project', 'unit', 'workers', 'shared'], env);
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
 * Installs a version of Node, and SQLite's binary for it.
 * @param {string} version
 * @param {string} folder
 * @returns {Promise<NodeJS.ProcessEnv>} the environment in which `node` is that version.
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
  const binary = join(packages, 'node_modules/better-sqlite3/build/Release/better_sqlite3.node');
  if (!existsSync(binary)) throw new Error('better-sqlite3 was not built.');

  // The packages of this repository are for another version: all of them load this one's binary.
  const preload = join(folder, 'preload.cjs');
  writeFileSync(
    preload,
    `const load = process.dlopen;
process.dlopen = (module, file, ...rest) =>
  load.call(process, module, file.endsWith('better_sqlite3.node') ? ${JSON.stringify(binary)} : file, ...rest);
`,
  );
  const env = { ...process.env, PATH: path, NODE_OPTIONS: `--require ${preload}` };
  const { version: exact } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'));
  console.log(`Node ${exact} and better-sqlite3 ${SQLITE} for it are in ${folder}`);
  return env;
}

/**
 * @param {string} file
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<void>}
 */
function run(file, args, env = process.env) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd: REPOSITORY, env, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${file} ${args.join(' ')} ended with ${signal ?? code}.`));
    });
  });
}
