import { readFileSync, readlinkSync } from 'node:fs';

/** Where process ids can be compared: this boot of this kernel, and its process namespace. '' where it is unknown. */
export const PROCESS_SPACE = readProcessSpace();

function readProcessSpace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return ''; // not Linux: a dead leader's lease has to expire
  }
}

/** A process, as noted for other processes. */
export interface NotedProcess {
  readonly processes?: string | undefined;
  readonly pid: number;
}

/** Whether a process exists, as far as this process can see. */
export function findProcess({ processes, pid }: NotedProcess): 'gone' | 'there' | 'unknown' {
  if (processes === undefined || processes === '' || processes !== PROCESS_SPACE) return 'unknown';
  try {
    process.kill(pid, 0);
    return 'there';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' ? 'gone' : 'there';
  }
}
