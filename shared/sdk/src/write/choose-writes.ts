import type { EncodedWrite } from './encoded-write.ts';
import { MESSAGE_OVERHEAD_BYTES } from './outbound-job.ts';
import type { PendingWrite } from './pending-write.ts';

/**
 * A job with so many writes is sent, also where more are gathered, and one of so many bytes: larger ones save little, and of
 * several one is made, one travels and one is applied at the same time. Within LIMITS.maxJobOperations and maxJobBytes,
 * which are what a broker accepts.
 */
export const FULL_JOB_WRITES = 128;
const FULL_JOB_BYTES = 48 * 1024;

/**
 * The first writes of the buffer, as many as fit into a job; one that is too large for any goes alone. Settled ones are left out.
 * A write that waits for the replica shares no job with one that does not. Reads have jobs of their own: writes go past them, so that they fill a job, and no read goes past a write.
 * @returns also how many entries of the buffer that covers, and those among them that stay
 */
export function chooseWrites(buffer: readonly PendingWrite[]): {
  readonly writes: PendingWrite[];
  readonly taken: number;
  readonly passed?: PendingWrite[];
} {
  const writes: PendingWrite[] = [];
  const passed: PendingWrite[] = [];
  const texts = new Set<string>();
  let bytes = MESSAGE_OVERHEAD_BYTES;
  let taken = 0;
  for (; taken < buffer.length && writes.length < FULL_JOB_WRITES; taken++) {
    const write = buffer[taken]!;
    if (write.settled) continue;
    const payload = write.payload!;
    const first = writes[0] ?? write;
    if (write.isRead !== first.isRead) {
      if (first.isRead || isSole(first.payload)) break;
      passed.push(write);
      continue;
    }
    if (isSole(payload) && writes.length > 0) break;
    if (payload.durable !== first.payload!.durable) break;
    let size = payload.operationBytes;
    for (const sql of payload.sql) if (!texts.has(sql)) size += sql.length + 3;
    if (writes.length > 0 && bytes + size > FULL_JOB_BYTES) break;
    bytes += size;
    for (const sql of payload.sql) texts.add(sql);
    writes.push(write);
    if (isSole(payload)) {
      taken++;
      break;
    }
  }
  return passed.length === 0 ? { writes, taken } : { writes, taken, passed };
}

/** Whether a write must have a job of its own. */
export function isSole(payload: EncodedWrite | undefined): boolean {
  return payload?.alone !== undefined || payload?.sealed !== undefined;
}
