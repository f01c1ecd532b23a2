import { OnewriterError } from './onewriter-error.ts';

/*
 * job id      `w-<uuidv7>`: BullMQ wants no ':' and not only digits
 *             `b-<uuidv7>`: steps that run alone, because they may begin a transaction and leave it open
 *             `s-<uuidv7>`: steps of a transaction that is open; they go before all that waits
 *             `d-<uuidv7>`: as `w`, and its callers are answered when the replica has it
 *             `r-<uuidv7>`: reads, each a statement; no ledger has them, and a repeat does no harm
 * transaction `t-<uuidv7>`
 * receipt id  `<job id>.<index of the write in its job>`
 * client id   `c-<uuidv7>`
 */

const JOB_ID = /^[wbsrd]-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const RECEIPT_ID = /^([wbsrd]-[0-9a-f-]{36})\.(\d{1,4})$/;

/** Every byte in hexadecimal. */
const BYTES = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

let lastMs = 0;
let counter = 0;

/**
 * A UUIDv7 that is larger than every one made before in this thread, also within a millisecond and when the
 * clock steps back. Source: RFC 9562, section 6.2, method 1 (12-bit counter in rand_a).
 */
export function uuidv7(nowMs: number = Date.now()): string {
  if (nowMs > lastMs) {
    lastMs = nowMs;
    counter = 0;
  } else if (++counter > 0xfff) {
    lastMs++;
    counter = 0;
  }
  const hex = randomHex();
  const time = lastMs.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${hex.slice(0, 4)}-${hex.slice(4)}`;
}

/** Random bytes are asked for by the page: each call of the system costs some microseconds. */
const pool = new Uint8Array(4_096);
let used = pool.length;

/** 62 random bits behind the two bits of the UUID's variant. */
function randomHex(): string {
  if (used === pool.length) {
    crypto.getRandomValues(pool);
    used = 0;
  }
  let hex = BYTES[(pool[used]! & 0x3f) | 0x80]!;
  for (let index = used + 1; index < used + 8; index++) hex += BYTES[pool[index]!];
  used += 8;
  return hex;
}

export function newJobId(): string {
  return `w-${uuidv7()}`;
}

/** Id of a job whose callers are answered when the replica has it. A broker that does not know these applies it, and does not say so. */
export function newDurableJobId(): string {
  return `d-${uuidv7()}`;
}

/** Whether the job itself asks for the replica; that of a tenant with the durability `sync` need not. */
export function isDurableJobId(id: string): boolean {
  return id.startsWith('d-');
}

/** Id of a job of steps that is not batched with others: `s` if it continues an open transaction. */
export function newStepsJobId(kind: 'b' | 's'): string {
  return `${kind}-${uuidv7()}`;
}

/** Whether a job is one of steps that run alone. */
export function isStepsJobId(id: string): boolean {
  return id.startsWith('b-') || id.startsWith('s-');
}

/** Id of a job of reads that the owner of the file runs. */
export function newReadJobId(): string {
  return `r-${uuidv7()}`;
}

/** Whether a job only reads. */
export function isReadJobId(id: string): boolean {
  return id.startsWith('r-');
}

/** Whether a job continues an open transaction. */
export function isFollowUpJobId(id: string): boolean {
  return id.startsWith('s-');
}

export function newTransactionId(): string {
  return `t-${uuidv7()}`;
}

export function newClientId(): string {
  return `c-${uuidv7()}`;
}

export function isJobId(id: string): boolean {
  return JOB_ID.test(id);
}

/** When a job id was made, ms by the clock of the client that made it; undefined for any other id. */
export function timeOfJobId(id: string): number | undefined {
  if (id.length !== 38 || id[1] !== '-') return undefined;
  const time = Number.parseInt(id.slice(2, 10) + id.slice(11, 15), 16);
  return Number.isNaN(time) ? undefined : time;
}

export function receiptId(jobId: string, index: number): string {
  return `${jobId}.${index}`;
}

/** Splits a receipt id. @throws OnewriterError INVALID_ARGUMENT */
export function parseReceiptId(id: string): { readonly jobId: string; readonly index: number } {
  const match = typeof id === 'string' ? RECEIPT_ID.exec(id) : null;
  if (!match || !isJobId(match[1]!))
    throw new OnewriterError('INVALID_ARGUMENT', 'That is not a receipt id.');
  return { jobId: match[1]!, index: Number(match[2]) };
}
