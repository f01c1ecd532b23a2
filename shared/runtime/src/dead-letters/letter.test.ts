import { PROTOCOL_VERSION } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { summarizeLetter, toLetter, toLetterId } from './letter.ts';

const RECEIPT = 'w-01a1fc44-4ddc-7000-9c52-0d2270017207.0';
const DATA = {
  tenant: 'acme',
  receiptId: RECEIPT,
  error: { code: 'SQL_ERROR', message: 'no such table: t', details: { sqliteCode: 'SQLITE_ERROR' } },
  sql: 'INSERT INTO t VALUES (1)',
};

describe('a letter', () => {
  it('is summed up with everything about what happened', () => {
    const message = {
      v: PROTOCOL_VERSION,
      client: 'c',
      seq: 1,
      at: 0,
      sql: [DATA.sql],
      ops: [{ s: 0, k: 'order-77' }],
    };
    expect(summarizeLetter(toLetter(`dl-${RECEIPT}`, 0, { ...DATA, message }))).toEqual({
      id: `dl-${RECEIPT}`,
      receiptId: RECEIPT,
      tenant: 'acme',
      setAsideAt: '1970-01-01T00:00:00.000Z',
      error: DATA.error,
      sql: DATA.sql,
      idempotencyKey: 'order-77',
      canRetry: true,
    });
  });

  it('without a message cannot be sent again', () => {
    expect(summarizeLetter(toLetter('dl-1', 0, DATA))).toMatchObject({ tenant: 'acme', canRetry: false });
  });

  it('that is none is listed all the same', () => {
    expect(summarizeLetter(toLetter('7', 0, { tenant: 'acme' }))).toMatchObject({
      id: '7',
      receiptId: null,
      tenant: null,
      error: null,
      canRetry: false,
    });
  });

  it('is named by its own id or by its receipt', () => {
    expect(toLetterId(RECEIPT)).toBe(`dl-${RECEIPT}`);
    expect(toLetterId(`dl-${RECEIPT}`)).toBe(`dl-${RECEIPT}`);
    expect(toLetterId('7')).toBe('7');
  });
});
