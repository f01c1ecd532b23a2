import { readFileSync, readlinkSync } from 'node:fs';

/** The id that Linux has for the calling thread; undefined on other systems. */
export function currentThreadId(): number | undefined {
  try {
    const [, id] = /\/task\/(\d+)$/.exec(readlinkSync('/proc/thread-self')) ?? [];
    return id === undefined ? undefined : Number(id);
  } catch {
    return undefined; // another system, or a sandbox without /proc
  }
}

/** CPU time that a thread of this process has used, in ms; undefined where the system does not say. */
export function threadCpuMs(id: number): number | undefined {
  return readCpuMs(`/proc/self/task/${id}/schedstat`);
}

/** The same of the first thread of another process. */
export function processCpuMs(pid: number): number | undefined {
  return readCpuMs(`/proc/${pid}/schedstat`);
}

function readCpuMs(file: string): number | undefined {
  try {
    const [ns] = readFileSync(file, 'utf8').split(' ');
    const ms = Number(ns) / 1e6;
    return Number.isFinite(ms) ? ms : undefined;
  } catch {
    return undefined; // as above, or it has ended
  }
}
