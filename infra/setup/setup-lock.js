import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './run-command.js';
import { SetupError, say } from './say.js';

const FOLDER = join(REPOSITORY, '.onewriter');
const FILE = join(FOLDER, 'setup.lock');
const MAX_WAIT_MS = 15 * 60_000;

/**
 * Runs `action` while no other set-up works on this repository: two at once would write the same files. A lock
 * whose process is gone is replaced.
 *
 * @param {() => Promise<void>} action
 */
export async function withSetupLock(action) {
  mkdirSync(FOLDER, { recursive: true });
  const deadline = performance.now() + MAX_WAIT_MS;
  let reported = false;
  while (!tryLock()) {
    if (performance.now() > deadline) {
      throw new SetupError(`Another set-up does not end. If none runs, delete ${FILE} and try again.`);
    }
    if (!reported) say('waiting for another set-up of this repository');
    reported = true;
    await new Promise(resolve => setTimeout(resolve, 200));
  }
  try {
    await action();
  } finally {
    rmSync(FILE, { force: true });
  }
}

function tryLock() {
  try {
    writeFileSync(FILE, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  if (holderIsGone()) rmSync(FILE, { force: true });
  return false;
}

function holderIsGone() {
  try {
    const pid = Number(readFileSync(FILE, 'utf8'));
    // Empty for a moment, between its creation and the number.
    if (!(pid > 0)) return false;
    if (pid === process.pid) return true;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}
