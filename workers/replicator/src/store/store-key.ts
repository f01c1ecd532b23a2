import type { ByteRange } from './object-store.ts';

const PART = '[a-z0-9][a-z0-9._-]*';
const KEY = new RegExp(`^${PART}(/${PART})*$`);
const PREFIX = new RegExp(`^(${PART}/)*(${PART})?$`);
const MAX_KEY_LENGTH = 512;

/** Whether a name may be one of ours. No part begins with '.', so no key leaves its store. */
export function isKey(key: string): boolean {
  return key.length <= MAX_KEY_LENGTH && KEY.test(key);
}

/** @throws TypeError */
export function assertKey(key: string): void {
  if (!isKey(key)) throw new TypeError(`"${key}" is no key of an object.`);
}

/** @throws TypeError */
export function assertPrefix(prefix: string): void {
  if (prefix.length > MAX_KEY_LENGTH || !PREFIX.test(prefix)) {
    throw new TypeError(`"${prefix}" is no prefix of keys.`);
  }
}

/** The bytes of an object that a range means: none where it begins behind the end. */
export function resolveRange(range: ByteRange | undefined, size: number): { from: number; to: number } {
  if (range === undefined) return { from: 0, to: size };
  if ('last' in range) return { from: Math.max(0, size - range.last), to: size };
  const from = Math.min(range.from, size);
  return { from, to: Math.min(size, from + range.length) };
}

/** @throws TypeError */
export function assertRange(range: ByteRange): void {
  const numbers = 'last' in range ? [range.last] : [range.from, range.length];
  if (numbers.some(number => !Number.isSafeInteger(number) || number < 0) || numbers.at(-1) === 0) {
    throw new TypeError(`${JSON.stringify(range)} is no range of bytes.`);
  }
}
