import { execFileSync } from 'node:child_process';
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';

import { median } from './report/statistics.ts';

/** What the figures depend on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  readonly sqlite: string;
  readonly redis: string;
  readonly commit: string;
  /** Median microseconds for 4 KiB and its flush, where that makes the file longer, and where it overwrites. */
  readonly flushUs: { readonly growing: number; readonly overwriting: number };
}

/** Describes this machine. @param folder where flushes are measured, on the disk that the files will be on */
export function describeMachine(folder: string): Machine {
  const db = new Database(':memory:');
  const sqlite = db.prepare('SELECT sqlite_version()').pluck().get() as string;
  db.close();
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.versions.node,
    sqlite,
    redis: /v=(\S+)/.exec(output('redis-server', '--version'))?.[1] ?? 'unknown',
    commit: output('git', 'rev-parse', '--short', 'HEAD').trim(),
    flushUs: measureFlushes(join(folder, 'flushes')),
  };
}

const FLUSHES = 200;

function measureFlushes(path: string): Machine['flushUs'] {
  const file = openSync(path, 'w');
  const page = Buffer.alloc(4_096, 1);
  const pass = () =>
    median(
      Array.from({ length: FLUSHES }, (_, index) => {
        const started = performance.now();
        writeSync(file, page, 0, page.length, index * page.length);
        fsyncSync(file);
        return (performance.now() - started) * 1_000;
      }),
    );
  try {
    return { growing: pass(), overwriting: pass() };
  } finally {
    closeSync(file);
  }
}

function output(command: string, ...args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return ''; // not a repository, or not installed: the report says unknown
  }
}

/** Share of the machine's CPU time (0 to 1) in use during the next `ms`. */
export async function busyShare(ms: number): Promise<number> {
  const before = cpuTimes();
  await new Promise(resolve => setTimeout(resolve, ms));
  const after = cpuTimes();
  return (after.busy - before.busy) / (after.total - before.total);
}

/** Source: proc(5), /proc/stat: user nice system idle iowait irq softirq steal, in ticks since the start. */
function cpuTimes(): { busy: number; total: number } {
  const line = readFileSync('/proc/stat', 'utf8').split('\n')[0]!;
  const times = line.split(/\s+/).slice(1, 9).map(Number);
  const total = times.reduce((sum, time) => sum + time, 0);
  return { busy: total - times[3]! - times[4]!, total };
}

/** Waits until the machine is almost idle, for a while at most. @returns the share in use */
export async function waitForQuiet(maxShare: number, timeoutMs: number): Promise<number> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const share = await busyShare(LOOK_MS);
    if (share <= maxShare || performance.now() > deadline) return share;
  }
}

const LOOK_MS = 500;
