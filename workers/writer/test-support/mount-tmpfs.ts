import { execFileSync } from 'node:child_process';
import { expect, onTestFinished } from 'vitest';
import { temporaryDataDir } from './temporary-lane.ts';

/**
 * A small file system for the test, gone when the test is.
 * @param options of tmpfs(5): `size=16m,nr_inodes=64`
 * @returns undefined if this machine does not allow mounting; as root the test fails then.
 */
export function mountTmpfs(options: string): string | undefined {
  const folder = temporaryDataDir();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'pipe' });
  } catch {
    expect.soft(process.getuid?.(), 'Nothing can be mounted here: the fault is not injected').not.toBe(0);
    return undefined;
  }
  onTestFinished(() => void execFileSync('umount', ['-l', folder]));
  return folder;
}
