/**
 * The command that runs `command` with a limit of memory that the kernel enforces (RLIMIT_DATA: heap and anonymous mappings, with
 * Linux 4.7 and later). An allocation beyond it fails inside the process. Where there is no such limit it runs without one.
 */
export function withMemoryLimit(
  command: readonly string[],
  memoryBytes: number,
): { readonly file: string; readonly args: readonly string[] } {
  const kilobytes = Math.floor(memoryBytes / 1024);
  return {
    file: '/bin/sh',
    args: ['-c', 'ulimit -d "$0" 2>/dev/null; exec "$@"', String(kilobytes), ...command],
  };
}

/** Node's option for the heap of a process with such a limit: SQLite needs the other half. */
export function heapOption(memoryBytes: number): string {
  return `--max-old-space-size=${Math.floor(memoryBytes / 2 / 1024 / 1024)}`;
}

/** Whether a process ended because an allocation failed where nothing could be done about it. */
export function endedOutOfMemory(stderr: string): boolean {
  return /out of memory|allocation fail|heap limit/i.test(stderr);
}
