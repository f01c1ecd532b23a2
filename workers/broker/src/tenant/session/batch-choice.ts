/*
 * Chooses the jobs of a tenant's next batch: those that wait longest, in their order, as many as fit. A job that may have ended
 * a process shares a batch with few others, and only with such jobs: if that batch ends the process again, few jobs run alone,
 * and none of them only because it was near.
 */

/** The facts that decide whether a job goes into a batch. */
export interface BatchCandidate {
  /** Size of its data. */
  readonly bytes: number;
  /** Size of a batch that contains it, at most, itself included; Infinity: as many as fit. */
  readonly maxTogether: number;
}

/** How large a batch may be; its first job may be larger. */
export interface BatchBounds {
  readonly maxJobs: number;
  readonly maxBytes: number;
}

/** @param jobs oldest first @returns how many of them go into the batch: at least one where there is one */
export function chooseBatch(jobs: Iterable<BatchCandidate>, { maxJobs, maxBytes }: BatchBounds): number {
  let count = 0;
  let bytes = 0;
  let limit = maxJobs;
  let ofSuspects: boolean | undefined;
  for (const job of jobs) {
    const isSuspect = job.maxTogether !== Number.POSITIVE_INFINITY;
    ofSuspects ??= isSuspect;
    limit = Math.min(limit, job.maxTogether);
    bytes += job.bytes;
    if (count > 0 && (isSuspect !== ofSuspects || count + 1 > limit || bytes > maxBytes)) break;
    count++;
    if (count >= limit) break;
  }
  return count;
}
