import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { isJobId, LIMITS } from '@onewriter/protocol';

/*
 * The current jobs of a thread, for the next leader: a crash counts for a job only if it was in a thread when its process ended.
 * Two writes to the page cache per batch, some microseconds; they outlive the process, and need not outlive a loss
 * of power, which no job causes.
 *
 *   <job id>\n<job id>\n\n   then the rest of a longer note
 */

/** The note of one thread. */
export class RunningNote {
  readonly #path: string;
  #file: number | undefined;
  #unusable = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** A batch begins. */
  begin(jobs: readonly { readonly id: string }[]): void {
    if (jobs.length > 0) this.#write(`${jobs.map(({ id }) => id).join('\n')}\n\n`);
  }

  /** The batch has ended: a later end of the process is not its fault. */
  clear(): void {
    if (this.#file !== undefined) this.#write('\n\n');
  }

  /** The thread begins nothing more. Idempotent. */
  remove(): void {
    if (this.#file === undefined) return;
    closeSync(this.#file);
    this.#file = undefined;
    rmSync(this.#path, { force: true }); // a successor may have been quicker
  }

  #write(text: string): void {
    if (this.#unusable) return;
    try {
      if (this.#file === undefined) {
        mkdirSync(dirname(this.#path), { recursive: true });
        this.#file = openSync(this.#path, 'w');
      }
      writeSync(this.#file, text, 0, 'latin1');
    } catch {
      // For example a full disk, which callers learn from the tenants' files. Without a note no crash is counted.
      this.#unusable = true;
    }
  }
}

/** The jobs in a note. */
export function parseRunningNote(text: string): readonly string[] {
  const jobs = text.split('\n\n', 1)[0]!.split('\n', LIMITS.maxBatchJobs);
  return jobs.filter(isJobId);
}
