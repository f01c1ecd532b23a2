import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Whether a process with this id exists. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * The command line of a process, '' if there is none: process ids are used again, so an old one is only acted on
 * when the process behind it is the one that was meant.
 */
export function commandLine(pid: number): string {
  if (pid <= 0 || !isAlive(pid)) return '';
  try {
    if (process.platform === 'linux') {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    }
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    return ''; // it ended in between
  }
}

/**
 * Resolves to whether the process ended within `timeoutMs`. It is not a child, so no event reports its end: poll. One that has
 * ended and waits for its parent to notice (a zombie) has no command line any more.
 */
export async function waitForEnd(pid: number, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (commandLine(pid) !== '') {
    if (performance.now() > deadline) return false;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  return true;
}
