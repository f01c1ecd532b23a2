import { bytesThatFit, maxCostOfJobs, SHARE_BYTES } from '../../lanes/job-memory.ts';
import { FOLLOW_UPS_AMONG } from '../../queue/queue-scripts.ts';
import type { FetchBounds } from '../../queue/tenant-queue.ts';
import type { Room } from './held-jobs.ts';

/** Memory that a fetch needs, and the most it can use; in bytes. */
export type MemoryWish = readonly [minimum: number, desired: number];

/** Bytes of data that the first fetch asks memory for; later ones ask for twice the bytes of the last. */
const FIRST_FETCH_BYTES = 128 * 1024;

/** Decides how much memory a tenant's fetches ask for, and how much each may return. */
export class FetchSize {
  /** Bytes of data in the last fetch. */
  #lastBytes = FIRST_FETCH_BYTES / 2;
  /** Size of the oldest waiting job, if it was too large for a fetch; else 0. */
  #tooLargeBytes = 0;
  /** The same for the jobs that continue the open transaction, together. */
  #followUpsTooLargeBytes = 0;

  /** A fetch returned this many bytes of data, of at least one job. */
  noteFetched(bytes: number): void {
    this.#lastBytes = bytes;
  }

  /** @param bytes of the oldest waiting job, where it exceeded the bound of a fetch; undefined: it did not */
  noteTooLarge(bytes: number | undefined): void {
    this.#tooLargeBytes = bytes ?? 0;
  }

  /** The same for the jobs that continue the open transaction. */
  noteFollowUpsTooLarge(bytes: number | undefined): void {
    this.#followUpsTooLargeBytes = bytes ?? 0;
  }

  wish({ maxJobs, maxBytes }: Room): MemoryWish {
    if (this.#tooLargeBytes > 0) {
      const cost = maxCostOfJobs(1, this.#tooLargeBytes);
      return [cost, cost];
    }
    return [SHARE_BYTES, maxCostOfJobs(maxJobs, Math.min(maxBytes, 2 * this.#lastBytes))];
  }

  /** As much as there is room and memory for. */
  bounds({ maxJobs, maxBytes }: Room, memoryBytes: number): FetchBounds {
    if (this.#tooLargeBytes > 0) return { maxJobs: 1, maxBytes: this.#tooLargeBytes };
    return { maxJobs, maxBytes: Math.min(maxBytes, bytesThatFit(maxJobs, memoryBytes)) };
  }

  wishForFollowUps(): MemoryWish {
    const tooLarge = this.#followUpsTooLargeBytes;
    const usefulBytes = Math.max(tooLarge, 2 * this.#lastBytes);
    return [
      tooLarge === 0 ? SHARE_BYTES : maxCostOfJobs(FOLLOW_UPS_AMONG, tooLarge),
      maxCostOfJobs(FOLLOW_UPS_AMONG, usefulBytes),
    ];
  }

  /** Bytes of data that a fetch of follow-ups may return. */
  boundOfFollowUps(memoryBytes: number): number {
    return bytesThatFit(FOLLOW_UPS_AMONG, memoryBytes);
  }
}

/** How many of the jobs certainly fit into the memory, the first of them first. @param bytes of their data in Redis */
export function countThatFits(jobs: readonly { readonly bytes: number }[], memoryBytes: number): number {
  let count = 0;
  let bytes = 0;
  for (const job of jobs) {
    bytes += job.bytes;
    if (maxCostOfJobs(count + 1, bytes) > memoryBytes) break;
    count++;
  }
  return count;
}
