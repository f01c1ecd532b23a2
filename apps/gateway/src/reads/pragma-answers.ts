import { OnewriterError, type PragmaAnswer, type SqlValue } from '@onewriter/protocol';
import type Database from 'better-sqlite3';

/** Checks what a PRAGMA is answered with where that depends on the file. @throws OnewriterError STATEMENT_NOT_ALLOWED */
export function assertSo(db: Database.Database, { verify, refusal }: PragmaAnswer): void {
  if (verify === undefined || db.prepare(verify).get() !== undefined) return;
  throw new OnewriterError('STATEMENT_NOT_ALLOWED', refusal ?? 'This PRAGMA is not allowed.');
}

/** A value of an answer as a connection with exact integers returns it. */
export function toExact(value: string | number): SqlValue {
  return typeof value === 'number' ? BigInt(value) : value;
}
