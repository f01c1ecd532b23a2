import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import Database from 'better-sqlite3';

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
}

/** Describes this machine. */
export function describeMachine(): Machine {
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
  };
}

function output(command: string, ...args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return ''; // not a repository, or not installed: the report says unknown
  }
}

/** Share of the machine's CPU time (0 to 1) that somebody uses in the next `ms`. */
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

/** Waits until nobody uses the machine much, for a while at most. @returns the share that somebody uses */
export async function waitForQuiet(maxShare: number, timeoutMs: number): Promise<number> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const share = await busyShare(LOOK_MS);
    if (share <= maxShare || performance.now() > deadline) return share;
  }
}

const LOOK_MS = 500;
