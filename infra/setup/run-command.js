import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SetupError } from './say.js';

/** Kept of a quiet command's output, to be shown if it fails. */
const MAX_OUTPUT_CHARACTERS = 64 * 1024;

/**
 * Runs a command in the repository's root.
 *
 * @param {readonly string[]} command program and arguments
 * @param {{ quiet?: boolean, env?: Record<string, string>, cwd?: string }} [options] `quiet`: keep the output
 * @returns {Promise<{ code: number, output: string, durationMs: number }>} code 127 if there is no such program
 */
export async function runCommand([program, ...args], options = {}) {
  const started = performance.now();
  const child = spawn(program, args, {
    cwd: options.cwd ?? REPOSITORY,
    env: { ...process.env, ...options.env },
    stdio: options.quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', text => {
      output = (output + text).slice(-MAX_OUTPUT_CHARACTERS);
    });
  }
  const code = await new Promise((resolve, reject) => {
    child.on('error', error => {
      if (error.code === 'ENOENT') resolve(127);
      else reject(error);
    });
    child.on('close', (exitCode, signal) => resolve(signal === null ? exitCode : 1));
  });
  return { code, output, durationMs: performance.now() - started };
}

/**
 * Runs a command quietly; if it fails, its output is shown.
 *
 * @param {readonly string[]} command
 * @param {{ env?: Record<string, string>, failure: string }} options `failure`: what to say then
 */
export async function runOrFail(command, { env, failure }) {
  const { code, output } = await runCommand(command, { quiet: true, env });
  if (code === 0) return;
  process.stderr.write(`${output.trimEnd()}\n`);
  throw new SetupError(`${failure} (\`${command.join(' ')}\` ended with exit code ${code})`);
}

/** The root of the repository. */
export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

/** Path of a tool that the packages bring. @param {string} name */
export function localTool(name) {
  return `${REPOSITORY}node_modules/.bin/${name}`;
}
