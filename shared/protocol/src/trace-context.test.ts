import { describe, expect, it } from 'vitest';
import { formatTraceparent, parseTraceparent } from './trace-context.ts';
import { readTraceparents } from './write-job.ts';

const PARENT = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', traceFlags: 1 };
const TEXT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

describe('traceparent', () => {
  it('is written and read', () => {
    expect(formatTraceparent(PARENT)).toBe(TEXT);
    expect(parseTraceparent(TEXT)).toEqual(PARENT);
    expect(parseTraceparent(TEXT.replace(/^00/, 'cc').concat('-more'))).toEqual(PARENT);
  });

  it.each([
    ['nothing', undefined],
    ['empty', ''],
    ['version ff', TEXT.replace(/^00/, 'ff')],
    ['more than version 00 has', `${TEXT}-x`],
    ['upper case', TEXT.toUpperCase()],
    ['no trace', TEXT.replace('4bf92f3577b34da6a3ce929d0e0e4736', '0'.repeat(32))],
    ['no span', TEXT.replace('00f067aa0ba902b7', '0'.repeat(16))],
    ['too short', TEXT.slice(0, -1)],
  ])('is refused: %s', (_, text) => {
    expect(parseTraceparent(text)).toBeUndefined();
  });
});

describe('the traceparents of a job', () => {
  const job = (tp: string) =>
    `{"v":1,"client":"c-1","seq":7,"at":1700000000000${tp},"sql":["\\"tp\\":[\\"x\\"]"],"ops":[]}`;

  it('are read from its head, without reading the rest', () => {
    expect(readTraceparents(job(`,"tp":["${TEXT}","${TEXT}"]`))).toEqual([PARENT, PARENT]);
    expect(readTraceparents(job(''))).toEqual([]);
    expect(readTraceparents(job(',"tp":["nonsense"]'))).toEqual([]);
    expect(readTraceparents('')).toEqual([]);
  });

  it('are as many as a job may have, whatever it says', () => {
    const many = Array.from({ length: 1_000 }, () => `"${TEXT}"`).join();
    expect(readTraceparents(job(`,"tp":[${many}]`))).toHaveLength(16);
  });
});
