import { spawn } from 'node:child_process';
import { REPOSITORY } from './run-command.js';
import { runMain, SetupError } from './say.js';
import { setUp } from './setup.js';

/* `node infra/setup/run.js <workspace> <script> [arguments]`: sets up, then runs a script of one workspace. */

await runMain(async () => {
  const [workspace, script, ...args] = process.argv.slice(2);
  if (script === undefined) throw new SetupError('Usage: node infra/setup/run.js <workspace> <script> …');
  await setUp();
  const child = spawn('npm', ['run', '--silent', script, '-w', workspace, '--', ...args], {
    cwd: REPOSITORY,
    stdio: 'inherit',
  });
  // The terminal sends Ctrl-C to the child, too; this process stays until the child has ended.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  process.exitCode = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', code => resolve(code ?? 1));
  });
});
