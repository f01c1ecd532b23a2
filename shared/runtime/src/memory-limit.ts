import { spawnSync } from 'node:child_process';

/** Runs what follows so that the kernel ends it when its parent has ended (PR_SET_PDEATHSIG), whatever it does then. */
const END_WITH_PARENT: readonly string[] = ['setpriv', '--pdeathsig', 'KILL'];
const PROBE_TIMEOUT_MS = 5_000;
let hasEndWithParent: boolean | undefined;

/**
 * The command that runs `command` as a child that cannot outlive its parent, with a limit of memory that the kernel enforces
 * (RLIMIT_DATA: heap and anonymous mappings, with Linux 4.7 and later). An allocation beyond it fails inside the process. Where
 * there is no such limit, or no setpriv of util-linux, it runs without.
 */
export function withMemoryLimit(
  command: readonly string[],
  memoryBytes: number,
): { readonly file: string; readonly args: readonly string[] } {
  const kilobytes = Math.floor(memoryBytes / 1024);
  const prefix = canEndWithParent() ? END_WITH_PARENT : [];
  return {
    file: '/bin/sh',
    args: ['-c', 'ulimit -d "$0" 2>/dev/null; exec "$@"', String(kilobytes), ...prefix, ...command],
  };
}

function canEndWithParent(): boolean {
  const [file, ...args] = END_WITH_PARENT;
  hasEndWithParent ??=
    spawnSync(file!, [...args, 'true'], { stdio: 'ignore', timeout: PROBE_TIMEOUT_MS }).status === 0;
  return hasEndWithParent;
}

/** Node's option for the heap of a process with such a limit: SQLite needs the other half. */
export function heapOption(memoryBytes: number): string {
  return `--max-old-space-size=${Math.floor(memoryBytes / 2 / 1024 / 1024)}`;
}

/** Whether a process ended because an allocation failed where nothing could be done about it. */
export function endedOutOfMemory(stderr: string): boolean {
  return /out of memory|allocation fail|heap limit/i.test(stderr);
}
