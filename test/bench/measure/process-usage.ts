import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Ticks of /proc/<pid>/stat per second. */
const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** CPU seconds a process has used, all its threads together; 0 where it is gone. Resolution: 10 ms. */
export function cpuSecondsOf(pid: number): number {
  try {
    return cpuSecondsOfStat(readFileSync(`/proc/${pid}/stat`, 'utf8')).self;
  } catch {
    return 0;
  }
}

/**
 * CPU seconds in the text of a `stat`, and those of processes that it started and that have ended.
 * Source: proc(5), utime, stime, cutime and cstime are the 14th to 17th field of /proc/<pid>/stat.
 */
export function cpuSecondsOfStat(stat: string): { readonly self: number; readonly children: number } {
  // The name in brackets may hold anything; what follows it begins with the 3rd field.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const sum = (first: number) => (Number(fields[first]) + Number(fields[first + 1])) / TICKS_PER_SECOND;
  return { self: sum(11), children: sum(13) };
}

/** CPU seconds of several processes, by role. */
export function cpuSecondsOfAll(pids: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(pids).map(([role, pid]) => [role, cpuSecondsOf(pid)]));
}

/** Resident memory in MiB. */
export function residentMibOf(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kib === undefined) throw new Error(`Process ${pid} has no VmRSS.`);
  return Number(kib) / 1_024;
}

/** Process ids of the descendants of `pid`, itself included. */
export function processTreeOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  return [pid, ...children.flatMap(child => processTreeOf(Number(child)))];
}

/** How many TCP connections the process has to this port. Source: proc(5), /proc/<pid>/net/tcp. */
export function connectionsTo(port: number, pid: number): number {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inodes = new Set<string>();
  for (const family of ['tcp', 'tcp6']) {
    for (const line of readFileSync(`/proc/${pid}/net/${family}`, 'utf8').split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[2]?.endsWith(wanted) && fields[9] !== undefined) inodes.add(`socket:[${fields[9]}]`);
    }
  }
  let count = 0;
  for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
    try {
      if (inodes.has(readlinkSync(`/proc/${pid}/fd/${descriptor}`))) count++;
    } catch {
      // closed in between
    }
  }
  return count;
}

/** How many files with this name the process has open; a file that it has open twice counts once. */
export function openFilesNamed(name: string, pid: number): number {
  const paths = new Set<string>();
  for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const path = readlinkSync(`/proc/${pid}/fd/${descriptor}`);
      if (path.endsWith(`/${name}`)) paths.add(path);
    } catch {
      // closed in between
    }
  }
  return paths.size;
}
