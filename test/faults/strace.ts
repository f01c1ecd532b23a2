import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '@onewriter/testkit';
import { CannotInject } from './fault-failure.ts';
import { needProgram, needRoot } from './machine.ts';

/** System calls that fail or take long in a running process until {@link stop}. */
export interface Injection {
  /** Calls that it happened to so far. */
  count(): number;
  stop(): Promise<void>;
}

/** Which calls, and what happens to them. */
export interface InjectedEffect {
  /** For example `fsync,fdatasync`. */
  readonly calls: string;
  /** strace's `error=EIO`, or `delay_enter=<microseconds>`. */
  readonly effect: string;
  /** strace's `when`: `5+3` is the fifth call and every third after it. */
  readonly when: string;
}

/**
 * Makes system calls of all threads of a process fail, or take long.
 * @throws CannotInject where strace is not to be had, or may not attach.
 */
export async function injectEffect(
  pid: number,
  folder: string,
  { calls, effect, when }: InjectedEffect,
): Promise<Injection> {
  needRoot('Tracing another process');
  const strace = await needProgram('strace', 'strace');
  const log = join(folder, `strace-${pid}-${Date.now()}.log`);
  const child = spawn(
    strace,
    [
      '-f',
      '-qq',
      '-o',
      log,
      '-e',
      `trace=${calls}`,
      '-e',
      `inject=${calls}:${effect}:when=${when}`,
      '-p',
      String(pid),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', text => {
    complaint += text;
  });
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()));
  const isTraced = () => /^TracerPid:\t[1-9]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  try {
    await waitFor(() => child.exitCode !== null || isTraced(), {
      timeoutMs: 5_000,
      what: 'strace',
      intervalMs: 5,
    });
  } catch {
    child.kill('SIGKILL');
    await ended;
    throw new CannotInject(`strace does not attach: ${complaint.trim()}`);
  }
  if (child.exitCode !== null) throw new CannotInject(`strace does not attach: ${complaint.trim()}`);
  return {
    // A delayed call is marked only when it is over, which it may never be.
    count: () =>
      readFileSync(log, 'utf8').split(effect.startsWith('delay') ? /sync\(/ : '(INJECTED)').length - 1,
    stop: async () => {
      child.kill('SIGINT'); // it detaches
      await ended;
    },
  };
}
