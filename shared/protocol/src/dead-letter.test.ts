import { describe, expect, it } from 'vitest';
import { type DeadLetterMessage, deadLetterId, readDeadLetter } from './dead-letter.ts';
import { PROTOCOL_VERSION } from './write-job.ts';

const LETTER: DeadLetterMessage = {
  tenant: 'acme',
  receiptId: 'w-01a1fc44-4ddc-7000-9c52-0d2270017207.0',
  error: { code: 'SQL_ERROR', message: 'no such table: tasks' },
  sql: 'INSERT INTO tasks VALUES (?)',
};

describe('readDeadLetter', () => {
  it('takes a letter with and without a message', () => {
    const message = {
      v: PROTOCOL_VERSION as typeof PROTOCOL_VERSION,
      client: 'c',
      seq: 1,
      at: 0,
      sql: [LETTER.sql],
      ops: [{ s: 0 }],
    };
    expect(readDeadLetter(LETTER)).toBe(LETTER);
    expect(readDeadLetter({ ...LETTER, message })).toEqual({ ...LETTER, message });
  });

  it.each([
    ['nothing', null],
    ['text', 'letter'],
    ['another tenant id', { ...LETTER, tenant: '../acme' }],
    ['no receipt', { ...LETTER, receiptId: undefined }],
    ['an error that is none', { ...LETTER, error: 'no such table' }],
    ['no statement', { ...LETTER, sql: null }],
  ])('refuses %s', (_, data) => {
    expect(() => readDeadLetter(data)).toThrow('The letter lacks');
  });
});

it('names a letter after its write', () => {
  expect(deadLetterId(LETTER.receiptId)).toBe(`dl-${LETTER.receiptId}`);
});
