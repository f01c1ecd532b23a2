import { OnewriterError } from './onewriter-error.ts';

/*
 * job id      `w-<uuidv7>`: BullMQ wants no ':' and not only digits
 * receipt id  `<job id>.<index of the write in its job>`
 * client id   `c-<uuidv7>`
 */

const JOB_ID = /^w-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const RECEIPT_ID = /^(w-[0-9a-f-]{36})\.(\d{1,4})$/;

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
  const random = crypto.getRandomValues(new Uint8Array(8));
  random[0] = (random[0]! & 0x3f) | 0x80;
  const hex = Array.from(random, byte => byte.toString(16).padStart(2, '0')).join('');
  const time = lastMs.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${hex.slice(0, 4)}-${hex.slice(4)}`;
}

export function newJobId(): string {
  return `w-${uuidv7()}`;
}

export function newClientId(): string {
  return `c-${uuidv7()}`;
}

export function isJobId(id: string): boolean {
  return JOB_ID.test(id);
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
