import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { CannotInject } from './fault-failure.ts';

const MOUNT_OPTIONS = 'loop,data=writeback';

/*
 * What faults need of the machine: programs, privileges, file systems. Where it cannot be had the fault fails with
 * CannotInject: a fault that was not injected has shown nothing.
 */

/** Runs a program. @returns its exit code and what it printed. */
export async function run(
  program: string,
  args: readonly string[],
): Promise<{ readonly code: number; readonly output: string }> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-10_000);
    });
  }
  const code = await new Promise<number>(resolve => {
    child.on('error', () => resolve(127));
    child.on('close', exitCode => resolve(exitCode ?? 1));
  });
  return { code, output };
}

/** Runs a program. @throws CannotInject where it fails. */
export async function must(program: string, ...args: readonly string[]): Promise<string> {
  const { code, output } = await run(program, args);
  if (code === 0) return output;
  throw new CannotInject(`\`${program} ${args.join(' ')}\` ended with exit code ${code}: ${output.trim()}`);
}

interface SystemPackage {
  ensureProgram(need: {
    readonly programs: readonly string[];
    readonly debianPackages: readonly string[];
    readonly otherwise: string;
  }): Promise<string>;
}

/** Makes sure that a program is there, with apt where it is not. @throws CannotInject */
export async function needProgram(program: string, debianPackage: string): Promise<string> {
  const up = import.meta.url.endsWith('.ts') ? '../..' : '../../..';
  const url = new URL(`${up}/infra/setup/system-package.js`, import.meta.url);
  const { ensureProgram } = (await import(url.href)) as SystemPackage;
  try {
    return await ensureProgram({
      programs: [program],
      debianPackages: [debianPackage],
      otherwise: `Install ${debianPackage} and try again.`,
    });
  } catch (error) {
    throw new CannotInject((error as Error).message);
  }
}

/** @throws CannotInject unless this process may mount file systems and trace others. */
export function needRoot(what: string): void {
  if (process.platform !== 'linux') throw new CannotInject(`${what} needs Linux.`);
  if (process.getuid?.() !== 0) throw new CannotInject(`${what} needs root.`);
}

/** A file system of the run's own. */
export interface OwnFileSystem {
  readonly path: string;
  /** Loses what was not flushed, and answers EIO from now on. */
  cutPower(): Promise<void>;
  /** Mounts it again after {@link cutPower}. No process may have files of it open. */
  powerOn(): Promise<void>;
  remove(): Promise<void>;
}

/** A tmpfs: it can be filled. */
export async function mountTmpfs(folder: string, megabytes: number): Promise<OwnFileSystem> {
  needRoot('Mounting a tmpfs');
  const path = join(folder, 'disk');
  await mkdir(path, { recursive: true });
  await must('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m`, 'onewriter-faults', path);
  return {
    path,
    cutPower: () => Promise.reject(new CannotInject('A tmpfs has no power to cut.')),
    powerOn: () => Promise.resolve(),
    remove: async () => void (await run('umount', ['-l', path])),
  };
}

/**
 * An ext4 in a file, whose power can be cut. `data=writeback`: a flush of one file does not write down others on the way, as
 * the usual mode does; what survives was flushed itself.
 */
export async function mountLoop(folder: string, megabytes: number): Promise<OwnFileSystem> {
  needRoot('Mounting a loop device');
  const xfsIo = await needProgram('xfs_io', 'xfsprogs');
  const path = join(folder, 'disk');
  const image = join(folder, 'disk.img');
  await mkdir(path, { recursive: true });
  const file = await open(image, 'w');
  await file.truncate(megabytes * 1024 * 1024);
  await file.close();
  await must('mkfs.ext4', '-q', '-F', image);
  await must('mount', '-o', MOUNT_OPTIONS, image, path);
  return {
    path,
    // Without -f: what is only in memory, journal included, is gone.
    cutPower: async () => void (await must(xfsIo, '-x', '-c', 'shutdown', path)),
    powerOn: async () => {
      await must('umount', path);
      await must('mount', '-o', MOUNT_OPTIONS, image, path);
    },
    remove: async () => void (await run('umount', ['-l', path])),
  };
}

/** Size of a file in bytes; 0 where there is none. */
export function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
