import { PROTOCOL_VERSION } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { describe, expect, it } from 'vitest';
import type { FinishedBatch } from './finished-batch.ts';
import { factsOfWrite, JobLog } from './job-log.ts';

const DATA = JSON.stringify({
  v: PROTOCOL_VERSION,
  client: 'c-1',
  seq: 1,
  at: 1,
  sql: ["INSERT INTO t VALUES ('secret', ?)"],
  ops: [{ s: 0, p: ['hidden'], r: 'request-7' }],
});

function batchOf(ageMs: number, data = DATA, jobs = 1): FinishedBatch {
  const now = performance.now();
  const ids = Array.from({ length: jobs }, (_, index) => `w-${index}`);
  return {
    tenant: 'acme',
    jobs: ids.map(id => ({ id, data, enqueuedAt: Date.now() - ageMs, fetchedAt: now - 9 })),
    outcomes: ids.map(id => ({
      id,
      client: 'c-1',
      writes: 1,
      failures: 0,
      duplicate: false,
      commitSeq: 7,
      results: '',
    })),
    stats: { openMs: 0, applyMs: 1, commitMs: 2, checkpointMs: 0, walBytes: 0, commits: 1 },
    queuedAt: now - 8,
    begunAt: now - 6,
    committedAt: now - 2,
    finishedAt: now,
  };
}

function logOf(level: 'info' | 'debug', values = false) {
  const lines: { level: string; message: string; facts: Record<string, unknown> }[] = [];
  const write = (name: string) => (facts: Record<string, unknown>, message: string) =>
    lines.push({ level: name, message, facts });
  const log = {
    isLevelEnabled: (asked: string) => asked !== 'debug' || level === 'debug',
    warn: write('warn'),
    debug: write('debug'),
  } as unknown as Logger;
  return { lines, jobs: new JobLog({ slowMs: 1_000, values, log }) };
}

describe('the log of jobs', () => {
  it('reports a slow one with its stages, and no other', () => {
    const { lines, jobs } = logOf('info');
    jobs.observe(batchOf(500));
    expect(lines).toEqual([]);
    jobs.observe(batchOf(5_000));
    expect(lines).toMatchObject([
      {
        level: 'warn',
        message: 'Slow write',
        facts: {
          tenant: 'acme',
          job: 'w-0',
          receipt: 'w-0.0',
          requestIds: ['request-7'],
          statement: 'INSERT INTO t VALUES (?, ?)',
          commitSeq: 7,
          applyMs: 1,
          commitMs: 2,
        },
      },
    ]);
    const { queueMs, totalMs, ...stages } = lines[0]!.facts as Record<string, number>;
    expect(totalMs).toBeGreaterThan(4_990);
    expect(queueMs).toBeGreaterThan(4_900);
    const sum = [
      'prefetchMs',
      'laneMs',
      'handoverMs',
      'openMs',
      'applyMs',
      'commitMs',
      'flushMs',
      'completeMs',
    ];
    const inAll = sum.reduce((ms, stage) => ms + stages[stage]!, queueMs!);
    expect(Math.abs(inAll - totalMs!)).toBeLessThan(3);
  });

  it('shows no value unless a setting allows it', () => {
    const { lines, jobs } = logOf('debug');
    jobs.observe(batchOf(5_000));
    jobs.observe(batchOf(5));
    expect(JSON.stringify(lines)).not.toMatch(/secret|hidden/);
    const open = logOf('info', true);
    open.jobs.observe(batchOf(5_000));
    expect(JSON.stringify(open.lines)).toMatch(/secret.*hidden/);
  });

  it('reports each job at level debug', () => {
    const { lines, jobs } = logOf('debug');
    jobs.observe(batchOf(5, DATA, 2));
    expect(lines.map(({ message, facts }) => [message, facts['receipt']])).toEqual([
      ['Job done', 'w-0.0'],
      ['Job done', 'w-1.0'],
    ]);
  });

  it('has a bound, and says how many lines it left out', () => {
    const { lines, jobs } = logOf('info');
    const batch = batchOf(5_000, DATA, 25);
    jobs.observe(batch);
    expect(lines).toHaveLength(10);
    jobs.observe({ ...batch, finishedAt: batch.finishedAt + 1_001 });
    expect(lines).toHaveLength(20);
    expect(lines[10]!.facts['omittedBefore']).toBe(15);
  });

  it('accepts whatever a producer wrote', () => {
    const { lines, jobs } = logOf('info');
    jobs.observe(batchOf(5_000, 'not JSON'));
    expect(lines[0]!.facts['statement']).toBe('');
    expect(factsOfWrite({ id: 'w-1', data: '{' }, 3)).toEqual({
      receipt: 'w-1.3',
      requestId: undefined,
      statement: '',
    });
  });

  it('names one write', () => {
    const facts = (op: object) =>
      factsOfWrite(
        { id: 'w-1', data: JSON.stringify({ v: PROTOCOL_VERSION, client: 'c', sql: ['A', 'B'], ops: [op] }) },
        0,
      );
    expect(facts({ s: 1, r: 'request-7' })).toEqual({
      receipt: 'w-1.0',
      requestId: 'request-7',
      statement: 'B',
    });
    expect(facts({ x: 1 }).statement).toBe('B');
    expect(facts({ t: [{ s: 1 }, { s: 0 }] }).statement).toBe('B');
    expect(facts({ t: 'nonsense' }).statement).toBe('');
  });
});
