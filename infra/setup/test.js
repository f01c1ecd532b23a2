import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { localTool, runCommand } from './run-command.js';
import { runMain, say } from './say.js';
import { setUp, TURBO_ENV } from './setup.js';

/*
 * `npm test`: sets up, checks style, import directions and types, then runs all tests.
 * `npm test -- <file or option of vitest>`: sets up, then runs those tests alone.
 *
 * The last line on standard output is `N passed, N failed`. Each check counts like a test.
 */

const CHECKS = [
  { name: 'lint and format', command: ['biome', 'check', '--error-on-warnings', '.'] },
  { name: 'import directions', command: ['turbo', 'boundaries'] },
  { name: 'types of the packages', command: ['turbo', 'run', 'check', '--output-logs=errors-only'] },
  { name: 'types of the tests', command: ['tsc', '-p', 'test'] },
];

/** @returns {Promise<boolean>} */
async function runCheck({ name, command: [tool, ...args] }) {
  const { code, output, durationMs } = await runCommand([localTool(tool), ...args], {
    quiet: true,
    env: TURBO_ENV,
  });
  say(`${name}: ${code === 0 ? 'ok' : 'FAILED'} (${(durationMs / 1_000).toFixed(1)} s)`);
  if (code !== 0) process.stderr.write(`${output.trimEnd()}\n`);
  return code === 0;
}

/** @returns {Promise<{ passed: number, failed: number, skipped: number }>} */
async function runTests(args) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-summary-'));
  const file = join(folder, 'summary.json');
  try {
    const reporter = fileURLToPath(new URL('summary-reporter.js', import.meta.url));
    const command = [localTool('vitest'), 'run', '--reporter=default', `--reporter=${reporter}`, ...args];
    const { code } = await runCommand(command, { env: { ONEWRITER_TEST_SUMMARY: file } });
    const totals = readTotals(file);
    // Vitest can also fail without a failed test: no test found, a reporter or a worker that broke.
    if (code !== 0 && totals.failed === 0) totals.failed = 1;
    return totals;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function readTotals(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    say('vitest ended without a summary');
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

let passed = 0;
let failed = 0;
await runMain(async () => {
  const args = process.argv.slice(2);
  failed = 1; // until set-up has worked
  await setUp({ browser: true, prometheus: true });
  failed = 0;
  for (const check of args.length === 0 ? CHECKS : []) {
    if (await runCheck(check)) passed++;
    else failed++;
  }
  const totals = await runTests(args);
  passed += totals.passed;
  failed += totals.failed;
  if (totals.skipped > 0) say(`${totals.skipped} tests were skipped`);
});
process.stdout.write(`${passed} passed, ${failed} failed\n`);
if (failed > 0) process.exitCode = 1;
