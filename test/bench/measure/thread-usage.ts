import { readdirSync, readFileSync } from 'node:fs';
import { cpuSecondsOfStat } from './process-usage.ts';

/** The thread that a process began with. */
export const MAIN_THREAD = 'main';
/** Processes that have ended, and that the process has started. */
export const CHILDREN = 'its processes';

/**
 * CPU seconds of each thread of a process, by its name (those of one name together), and of its processes that have ended.
 * Source: proc(5), /proc/<pid>/task.
 */
export function cpuSecondsOfThreads(pid: number): ReadonlyMap<string, number> {
  const seconds = new Map<string, number>();
  const add = (name: string, more: number) => seconds.set(name, (seconds.get(name) ?? 0) + more);
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      const folder = `/proc/${pid}/task/${thread}`;
      const name = thread === String(pid) ? MAIN_THREAD : readFileSync(`${folder}/comm`, 'utf8').trim();
      add(name, cpuSecondsOfStat(readFileSync(`${folder}/stat`, 'utf8')).self);
    } catch {
      // It has ended in between.
    }
  }
  add(CHILDREN, cpuSecondsOfStat(readFileSync(`/proc/${pid}/stat`, 'utf8')).children);
  return seconds;
}
