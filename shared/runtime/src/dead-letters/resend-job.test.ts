import type { DeadLetterMessage } from '@onewriter/protocol';
import { PROTOCOL_VERSION } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { createResendJob } from './resend-job.ts';

const LETTER: DeadLetterMessage = {
  tenant: 'acme',
  receiptId: 'w-01a1fc44-4ddc-7000-9c52-0d2270017207.3',
  error: { code: 'SQL_ERROR', message: 'no such table: t' },
  sql: 'INSERT INTO t VALUES (?, ?)',
  message: {
    v: PROTOCOL_VERSION,
    client: 'c-first',
    seq: 77,
    at: 1,
    sql: ['INSERT INTO t VALUES (?, ?)'],
    ops: [{ s: 0, p: [{ i: '9007199254740993' }, 'it’s'], k: 'order-77' }],
  },
};

describe('createResendJob', () => {
  it('sends the same write again, without a waiting caller', () => {
    const { name, data } = createResendJob(LETTER, 'c-second', 1_000);
    expect(name).toBe('acme · 1 write · INSERT INTO t VALUES (?, ?)');
    expect(JSON.parse(data)).toEqual({
      v: PROTOCOL_VERSION,
      client: 'c-second',
      seq: 1,
      at: 1_000,
      sql: ['INSERT INTO t VALUES (?, ?)'],
      ops: [{ s: 0, p: [{ i: '9007199254740993' }, 'it’s'], k: 'order-77', d: 1 }],
    });
  });

  it('says why a malformed write cannot be sent again', () => {
    const { message: _, ...malformed } = LETTER;
    expect(() => createResendJob(malformed, 'c', 0)).toThrow(/7207\.3 cannot be sent again: it is malformed/);
    const empty = { ...LETTER, message: { ...LETTER.message!, ops: [] } };
    expect(() => createResendJob(empty, 'c', 0)).toThrow('The job lacks');
  });

  it('sends no message of a version it does not know', () => {
    const other = { ...LETTER, message: { ...LETTER.message!, v: 99 as never } };
    expect(() => createResendJob(other, 'c', 0)).toThrow('version 99');
  });
});
