import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compareInstalled } from './installed-packages.js';
import { localTool, REPOSITORY, runCommand, runOrFail } from './run-command.js';
import { runMain, SetupError, say } from './say.js';
import { withSetupLock } from './setup-lock.js';
import { ensureProgram, findProgram, installDebianPackages } from './system-package.js';

/*
 * Makes a fresh clone ready to run: packages, Redis, build. Needs nothing but Node, and does only what is missing,
 * so every command begins with it.
 */

const MIN_NODE = [20, 19];

/** Environment of turbo: no telemetry, no notes about newer versions. */
export const TURBO_ENV = { TURBO_TELEMETRY_DISABLED: '1', TURBO_NO_UPDATE_NOTIFIER: '1', DO_NOT_TRACK: '1' };

/**
 * @param {{ redis?: boolean, browser?: boolean, prometheus?: boolean }} [needs] `redis` (default true): redis-server;
 *   `browser`: Chromium, for the tests of the dashboard; `prometheus`: for the tests of metrics and alerts
 */
export async function setUp({ redis = true, browser = false, prometheus = false } = {}) {
  checkNode();
  await withSetupLock(async () => {
    await installPackages();
    if (redis) await ensureRedis();
    if (browser) await ensureBrowser();
    if (prometheus) await ensurePrometheus();
    await build();
  });
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > MIN_NODE[0] || (major === MIN_NODE[0] && minor >= MIN_NODE[1])) return;
  throw new SetupError(`Node ${MIN_NODE.join('.')} or newer is needed; this is ${process.versions.node}.`);
}

/** Says for which Node the compiled packages were built. */
const ABI_FILE = join(REPOSITORY, 'node_modules/.onewriter-node-abi');

async function installPackages() {
  const state = compareInstalled(REPOSITORY);
  if (state !== 'complete') {
    say(
      state === 'none'
        ? 'installing packages (a minute or two: better-sqlite3 may have to be compiled)'
        : `installing packages (${state} is not the one of package-lock.json)`,
    );
    // Not `npm ci`: it refuses a lock file without the optional packages of platforms that the registry used when it
    // was written did not have, and deletes compiled packages that are still right. `--no-save` installs what the
    // lock file says and leaves it alone.
    await npm(['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']);
  } else if (builtForOtherNode()) {
    say(`compiling packages again for Node ${process.versions.node}`);
    await npm(['rebuild', '--loglevel=error']);
  }
  if (builtForOtherNode() !== false) writeFileSync(ABI_FILE, process.versions.modules);
}

/** Undefined where it is not known: nothing was installed by us yet. */
function builtForOtherNode() {
  if (!existsSync(ABI_FILE)) return undefined;
  return readFileSync(ABI_FILE, 'utf8') !== process.versions.modules;
}

/** @param {readonly string[]} args */
async function npm(args) {
  const first = await runCommand(['npm', ...args], { quiet: true });
  if (first.code === 0) return;
  // Without a prebuilt binary, better-sqlite3 needs a compiler.
  const missing = ['g++', 'make', 'python3'].filter(program => findProgram(program) === undefined);
  if (missing.length === 0 || !first.output.includes('better-sqlite3')) {
    process.stderr.write(`${first.output.trimEnd()}\n`);
    throw new SetupError(`npm ${args[0]} failed.`);
  }
  await installDebianPackages(
    ['g++', 'make', 'python3'],
    `better-sqlite3 has to be compiled, and ${missing.join(', ')} is missing. Install it and try again.`,
  );
  await runOrFail(['npm', ...args], { failure: `npm ${args[0]} failed.` });
}

async function ensureRedis() {
  await ensureProgram({
    programs: ['redis-server'],
    debianPackages: ['redis-server'],
    otherwise:
      'Install it (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis) and try again.',
  });
}

async function ensureBrowser() {
  const path = await ensureProgram({
    programs: ['chromium', 'chromium-browser', 'google-chrome'],
    debianPackages: ['chromium'],
    otherwise: 'Install Chromium (Debian: apt-get install chromium) and try again.',
  });
  process.env.ONEWRITER_CHROMIUM = path;
}

/** Where it cannot be installed, one test file fails and says so; the others need it not. */
async function ensurePrometheus() {
  try {
    await ensureProgram({
      programs: ['promtool'],
      debianPackages: ['prometheus'],
      otherwise: 'Install Prometheus (Debian: apt-get install prometheus) to run the tests of metrics.',
    });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
  }
}

async function build() {
  const command = [localTool('turbo'), 'run', 'build', '--output-logs=errors-only'];
  const started = performance.now();
  // Where nothing has changed there is nothing to wait for, and nothing to say.
  const announcement = setTimeout(() => say('building (the first time about a minute) …'), 1_000);
  try {
    await runOrFail(command, { env: TURBO_ENV, failure: 'The build failed.' });
  } finally {
    clearTimeout(announcement);
  }
  const seconds = (performance.now() - started) / 1_000;
  if (seconds > 2) say(`built in ${seconds.toFixed(0)} s`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await runMain(() => setUp());
