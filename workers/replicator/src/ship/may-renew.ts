/** A file that is written to is read whole for a shorter chain only up to this size; a larger one after so long without a commit. */
const MAX_BUSY_BYTES = 64 * 1024 * 1024;
const QUIET_MS = 60_000;

/** Whether a file may be read whole for a shorter chain. What comes meanwhile waits, so a large one is read when it is still. */
export function mayRenew(lastCommitMs: number, nowMs: number, sizeOf: () => number): boolean {
  return lastCommitMs < nowMs - QUIET_MS || sizeOf() <= MAX_BUSY_BYTES;
}
