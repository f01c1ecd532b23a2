import {
  parseReceiptId,
  parseWriteJob,
  receiptId,
  sqlOfWrite,
  type WireError,
  type WriteJobMessage,
} from '@onewriter/protocol';
import type { DeadLetter, JobOutcome } from '@onewriter/writer';
import { factsOfWrite } from '../../observe/job-log.ts';
import type { FetchedJob } from '../../queue/tenant-queue.ts';
import type { LoadedJob } from './held-job.ts';
import type { SessionServices } from './session-parts.ts';

/**
 * Sets aside what failed for good in a committed batch, in the dead-letter queue.
 * @returns undefined, without a promise, where there is nothing, which is the usual case
 */
export function setLettersAside(
  tenant: string,
  batch: readonly LoadedJob[],
  outcomes: readonly JobOutcome[],
  { deadLetters, poisoned, link, log, metrics }: SessionServices,
): Promise<unknown> | undefined {
  const additions: Promise<unknown>[] = [];
  for (const [index, outcome] of outcomes.entries()) {
    const job = batch[index]!;
    const refused = poisoned.of(job.id);
    if (outcome.deadLetters === undefined && refused === undefined) continue;
    const letters = mergeLetters(job, outcome.deadLetters ?? [], refused);
    if (letters.length === 0) continue;
    for (const { receiptId: receipt, error } of letters) {
      const facts = { tenant, ...factsOfWrite(job, parseReceiptId(receipt).index) };
      log.warn({ ...facts, code: error.code }, `Set aside: ${error.message}`);
    }
    metrics.setAside(letters.length);
    additions.push(link.retryUntilDone(() => deadLetters.add(tenant, job, letters)));
  }
  return additions.length === 0 ? undefined : Promise.all(additions);
}

/**
 * The writer's letters, and one for each poisoned write without one: its caller waits, but people look for it here.
 * @param poisoned errors by index of the write; -1 is the whole job
 */
export function mergeLetters(
  job: FetchedJob,
  letters: readonly DeadLetter[],
  poisoned: Readonly<Record<number, WireError>> | undefined,
): readonly DeadLetter[] {
  if (poisoned === undefined) return letters;
  let message: WriteJobMessage;
  try {
    message = parseWriteJob(job.data);
  } catch {
    return letters; // unreadable: refused as a whole, there is no write to keep
  }
  const known = new Set(letters.map(letter => letter.receiptId));
  const whole = poisoned[-1];
  const more: DeadLetter[] = [];
  for (const index of message.ops.keys()) {
    const error = poisoned[index] ?? whole;
    const receipt = receiptId(job.id, index);
    if (error !== undefined && !known.has(receipt)) {
      more.push({ receiptId: receipt, sql: sqlOfWrite(message, index), error });
    }
  }
  return [...letters, ...more];
}
