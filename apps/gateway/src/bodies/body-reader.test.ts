import { readdirSync, readFileSync } from 'node:fs';
import { createLogger } from '@onewriter/runtime';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { BodyName } from './statement-body.ts';

// The threads are those that were built: threads load JavaScript.
const { BodyThreads } = (await import(
  new URL('../../dist/bodies/body-reader.js', import.meta.url).href
)) as typeof import('./body-reader.ts');

function open(maxBodyBytes = 8 * 1024 * 1024, retireAfterMs?: number) {
  const bodies = new BodyThreads(maxBodyBytes, createLogger('test', 'silent'), retireAfterMs);
  onTestFinished(() => bodies.close());
  const read = <Name extends BodyName>(
    name: Name,
    body: unknown,
    wait: { owner?: string; timeoutMs?: number; signal?: AbortSignal } = {},
  ) =>
    bodies.read(
      {
        name,
        bytes: new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body)),
        flags: { requestId: 'r-1' },
      },
      { owner: 'tenant acme', timeoutMs: 10_000, signal: new AbortController().signal, ...wait },
    );
  return { bodies, read };
}

const INSERT = 'INSERT INTO t VALUES (?)';
/** A transaction of so many statements with so many parameters each, which have names of their own. */
function costlyBody(statements: number, parameters: number, nameOf: (number: number) => string): string {
  return JSON.stringify({
    statements: Array.from({ length: statements }, (_, statement) => ({
      sql: INSERT,
      params: Object.fromEntries(
        Array.from({ length: parameters }, (_, index) => [nameOf(statement * parameters + index), 1]),
      ),
    })),
  });
}
/** Seconds to parse, validate and encode. */
const COSTLY = costlyBody(5_000, 100, number => `${number.toString(36)}x`);
/** The same, but for a short time of it in JSON.parse, which cannot be interrupted. */
const COSTLY_PARSED = costlyBody(20, 30_000, number => String(number * 7));

/** Threads of this process that run while a CPU has nothing else to do. Source: proc_pid_stat(5) */
function backgroundThreads(): number {
  return readdirSync('/proc/self/task').filter(id => {
    const stat = readFileSync(`/proc/self/task/${id}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16] === '19';
  }).length;
}

describe('BodyThreads', () => {
  it('seals what a body writes, and says what else is in it', async () => {
    const { read } = open();
    const query = await read('query', { sql: INSERT, params: ['x'], values: 'tagged', timeoutMs: 7 });
    expect(query).toMatchObject({
      fields: { values: 'tagged', timeoutMs: 7 },
      statement: { kind: 'write' },
      statements: [],
      sealed: { kind: 'statement', texts: 1 },
    });
    expect(Buffer.from(query.sealed!.tail).toString()).toBe(
      `,"sql":["${INSERT}"],"ops":[{"s":0,"p":["x"],"r":"r-1"}]}`,
    );
    const line = await read('enqueueLine', { sql: INSERT, params: ['x'], idempotencyKey: 'k-1' });
    expect(Buffer.from(line.sealed!.tail).toString()).toContain('k-1');
    const queries = [{ query: INSERT, params: [{ i: '5' }] }, { query: INSERT }];
    const transaction = await read('dropInTransaction', { tenantId: 'acme', queries });
    expect(transaction).toMatchObject({
      fields: { tenantId: 'acme' },
      sealed: { kind: 'transaction', texts: 2 },
    });
  });

  it('leaves a read as it is', async () => {
    const { read } = open();
    const params = [{ b: 'AQI=' }, 9_007_199_254_740_993n].map(value =>
      typeof value === 'bigint' ? '9007199254740993' : JSON.stringify(value),
    );
    const select = await read('query', `{"sql":"SELECT ?, ?","params":[${params.join(',')}]}`);
    expect(select.sealed).toBeUndefined();
    expect(select.statements).toEqual([
      { sql: 'SELECT ?, ?', params: [new Uint8Array([1, 2]), 9_007_199_254_740_993n] },
    ]);
  });

  it('refuses what is wrong, with the code that it has elsewhere', async () => {
    const { read } = open();
    const codes = await Promise.all(
      [
        read('query', '{'),
        read('query', { sql: 5 }),
        read('query', { sql: INSERT, params: [{ x: 1 }] }),
        read('query', { sql: 'SELECT 1', params: Array(40_000).fill(1) }),
        read('enqueueLine', { sql: INSERT, params: Array(40_000).fill({ x: 1 }) }),
        read('script', { sql: 'ATTACH x' }),
        read('transaction', { statements: Array(5_001).fill({ sql: INSERT }) }),
      ].map(body =>
        body.then(
          ({ refusal }) => refusal?.code,
          (error: { code: string }) => error.code,
        ),
      ),
    );
    expect(codes).toEqual([
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_VALUE',
      'STATEMENT_TOO_LARGE',
      'STATEMENT_TOO_LARGE',
      'STATEMENT_NOT_ALLOWED',
      'STATEMENT_TOO_LARGE',
    ]);
  });

  it('lives on after a body that takes too much memory', { timeout: 60_000 }, async () => {
    const { read } = open(1);
    const heavy = `{"sql":"SELECT 1","params":[${'{"a":1.5},'.repeat(1_500_000)}1]}`;
    // On a busy machine the collection of garbage may take more than its time first.
    await expect(read('query', heavy)).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    expect(await read('enqueue', { sql: 'DELETE FROM t' })).toMatchObject({ sealed: { texts: 1 } });
  });

  it('reads the bodies of an owner in order, and those of others beside them', async () => {
    const { read } = open();
    const order: string[] = [];
    const body = { sql: INSERT, params: ['x'.repeat(100_000)] };
    // Both threads are ready then.
    await Promise.all(['a', 'b'].map(owner => read('query', body, { owner })));
    // Some 0.3 s of CPU together, so that a busy machine does not decide.
    const longer = costlyBody(100, 100, number => `${number.toString(36)}x`);
    const wait = { timeoutMs: 60_000 };
    await Promise.all([
      ...Array.from({ length: 8 }, (_, index) =>
        read('transaction', longer, { owner: 'a', ...wait }).then(() => order.push(`a${index}`)),
      ),
      read('query', body, { owner: 'b', ...wait }).then(() => order.push('b8')),
    ]);
    expect(order.filter(name => name !== 'b8')).toEqual(['a0', 'a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7']);
    expect(order.indexOf('b8')).toBeLessThan(8);
  });

  it('refuses a body that takes too long, and reads the others meanwhile', { timeout: 60_000 }, async () => {
    const { read } = open();
    const body = { sql: INSERT, params: ['x'.repeat(100_000)] };
    // Both threads are ready then.
    await Promise.all(['a', 'b'].map(owner => read('query', body, { owner })));
    let settled = 0;
    const costly = Array.from({ length: 2 }, () =>
      read('transaction', COSTLY, { owner: 'tenant hostile', timeoutMs: 60_000 })
        .catch((error: Error) => error)
        .finally(() => settled++),
    );
    for (let count = 0; count < 3; count++) {
      await read('query', body, { owner: 'tenant honest', timeoutMs: 60_000 });
      // One that waited for a thread with such a body is answered after it.
      expect(settled).toBe(0);
    }
    for (const error of await Promise.all(costly))
      expect(error).toMatchObject({
        code: 'PAYLOAD_TOO_LARGE',
        message: expect.stringContaining('to read; send fewer values at a time'),
      });
  });

  it('does not read on for a caller that is gone', { timeout: 60_000 }, async () => {
    const { read } = open();
    await read('query', { sql: INSERT });
    const leaving = new AbortController();
    const left = read('transaction', COSTLY_PARSED, { signal: leaving.signal });
    const before = process.cpuUsage();
    const next = read('query', { sql: INSERT });
    leaving.abort();
    await expect(left).rejects.toMatchObject({ code: 'ABORTED' });
    await next;
    // To its limit it takes 1 s, beside the start of the next thread.
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1_000).toBeLessThan(900);
  });

  it('keeps a thread for others while one with costly bodies leaves again and again', {
    timeout: 60_000,
  }, async () => {
    const { read } = open();
    const body = { sql: INSERT, params: ['x'.repeat(100_000)] };
    await Promise.all(['a', 'b'].map(owner => read('query', body, { owner })));
    let isOver = false;
    const leaving = (async () => {
      for (let count = 0; count < 6; count++) {
        const signal = AbortSignal.timeout(300);
        await read('transaction', COSTLY, { owner: 'hostile', signal }).catch(() => {});
      }
      isOver = true;
    })();
    let worst = 0;
    while (!isOver) {
      const begun = performance.now();
      await read('query', body, { owner: 'honest' });
      worst = Math.max(worst, performance.now() - begun);
      await new Promise(setImmediate);
    }
    await leaving;
    // Where the threads that end are not counted, it waits until one of them has: for 2 s and more.
    expect(worst).toBeLessThan(1_000);
  });

  it('reads rows and requests of other routes', async () => {
    const { bodies } = open();
    const wait = { owner: 'a', timeoutMs: 10_000, signal: new AbortController().signal };
    const bytes = (text: string) => new TextEncoder().encode(text);
    const row = '{"a":1,"b":{"b":"AQI="}}';
    expect(await bodies.readOther({ name: 'importRow', bytes: bytes(row) }, wait)).toEqual({
      names: ['a', 'b'],
      values: ['1', '{"b":"AQI="}'],
    });
    const named = bytes(`{"table":"t","row":${row}}`);
    expect(await bodies.readOther({ name: 'tableRow', bytes: named }, wait)).toMatchObject({ table: 't' });
    const wrong = bodies.readOther({ name: 'importRow', bytes: bytes('{"a":[]}') }, wait);
    await expect(wrong).rejects.toMatchObject({ code: 'INVALID_VALUE' });
    const script = { name: 'createTenant', bytes: bytes('{"script":"SELECT 1"}') } as const;
    expect(await bodies.readOther(script, wait)).toEqual({ script: 'SELECT 1' });
  });

  it('lets a caller leave, and refuses one whose deadline passes before its turn', async () => {
    const { read } = open();
    const first = read('query', { sql: INSERT, params: ['x'.repeat(4_000_000)] });
    const leaving = new AbortController();
    const left = read('query', { sql: INSERT }, { signal: leaving.signal });
    const late = read('query', { sql: INSERT }, { timeoutMs: 1 });
    leaving.abort();
    await expect(left).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(late).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect(await first).toMatchObject({ sealed: { texts: 1 } });
  });

  it('refuses what waits when it is closed', async () => {
    const { bodies, read } = open();
    const waiting = [read('query', { sql: INSERT }), read('query', { sql: INSERT })].map(body =>
      body.catch((error: { code: string }) => error.code),
    );
    await bodies.close();
    expect(await Promise.all(waiting)).toEqual(['CLOSED', 'CLOSED']);
    await expect(read('query', { sql: INSERT })).rejects.toMatchObject({ code: 'CLOSED' });
  });

  it('does not stay in the background after long bodies', { timeout: 120_000 }, async () => {
    const { read } = open(undefined, 300);
    const long = costlyBody(1_000, 100, number => `${number.toString(36)}x`);
    // On a busy machine a thread in the background waits for a CPU.
    const wait = { timeoutMs: 60_000 };
    await read('transaction', long, wait);
    const second = read('transaction', long, wait);
    expect(backgroundThreads()).toBe(1);
    await second;
    await vi.waitFor(() => expect(backgroundThreads()).toBe(0), { timeout: 30_000 });
    const large = { sql: INSERT, params: ['x'.repeat(1_100_000)] };
    expect(await read('query', large, { owner: 'tenant other' })).toMatchObject({ sealed: { texts: 1 } });
    expect(backgroundThreads()).toBe(0);
  });
});
