import { writeFileSync } from 'node:fs';

/** Longer names are cut. Source: proc(5), /proc/<pid>/comm. */
const MAX_BYTES = 15;

/** Names the calling thread for `top -H`, `ps -L` and profilers. Node itself calls all threads alike. */
export function nameThread(name: string): void {
  try {
    writeFileSync('/proc/thread-self/comm', name.slice(0, MAX_BYTES), { flag: 'r+' });
  } catch {
    // Another system, or a sandbox without /proc: the thread keeps its name.
  }
}
