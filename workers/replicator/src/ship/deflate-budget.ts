import { constants, deflateRawSync } from 'node:zlib';

/**
 * How much is deflated, in bytes of differences: about an eighth of one core (ADR 0076). What is beyond is stored as it is, and deflated
 * where packs are merged, in a process that gives way.
 */
export const DEFLATE_BYTES_PER_SECOND = 8 * 1024 * 1024;

export class DeflateBudget {
  readonly #perMs: number;
  readonly #max: number;
  #left: number;
  #atMs: number;

  constructor(nowMs: number, bytesPerSecond = DEFLATE_BYTES_PER_SECOND) {
    this.#perMs = bytesPerSecond / 1_000;
    this.#max = bytesPerSecond;
    this.#left = bytesPerSecond;
    this.#atMs = nowMs;
  }

  /** @returns whether so many bytes may be deflated now; they are spent then. */
  take(bytes: number, nowMs: number): boolean {
    this.#left = Math.min(this.#max, this.#left + Math.max(0, nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    // One body that is larger than a second's budget may use up a full one.
    if (this.#left < Math.min(bytes, this.#max)) return false;
    this.#left -= Math.min(bytes, this.#max);
    return true;
  }
}

/** Of a larger body, this much shows what deflate would gain. */
const SAMPLE_BYTES = 16 * 1024;
/** Deflate takes ten times as long as all else that is done with a body. */
const MAX_SHARE = 2 / 3;

/** Whether deflate makes a body shorter by a third. Keys in random order are what it hardly shortens. */
export function isWorthDeflating(bytes: Buffer): boolean {
  if (bytes.length <= 4 * SAMPLE_BYTES) return true;
  const from = Math.floor((bytes.length - SAMPLE_BYTES) / 2);
  const sample = bytes.subarray(from, from + SAMPLE_BYTES);
  return deflateRawSync(sample, { level: constants.Z_BEST_SPEED }).length < SAMPLE_BYTES * MAX_SHARE;
}
