import { hibernatedError, OnewriterError } from '@onewriter/protocol';
import { expect, it, vi } from 'vitest';
import type { ReadSteps } from './read-steps.ts';
import type { TenantReads } from './tenant-reads.ts';
import { WakingReads, wakingSteps } from './waking-reads.ts';

/** A client that brings a tenant back with its first read. */
function setUp() {
  const state = { isAwake: false };
  const get = vi.fn(async () => {
    state.isAwake = true;
  });
  const prepare = vi.fn(() => ({ get }));
  const onewriter = { tenant: vi.fn(() => ({ prepare })) } as never;
  const awake = <T>(value: T): T => {
    if (!state.isAwake) throw hibernatedError('acme');
    return value;
  };
  return { state, get, prepare, onewriter, awake };
}

const REQUEST = { tenant: 'acme', statements: [{ sql: 'SELECT 1' }], timeoutMs: 500 };

it('brings a hibernated tenant back before it is read, within the time of the read', async () => {
  const { onewriter, awake, get, prepare } = setUp();
  const inner = {
    read: async () => awake('rows'),
    stream: async () => awake('stream'),
    forget: vi.fn(),
    openFiles: 3,
  };
  const reads = new WakingReads(inner as unknown as TenantReads, onewriter);
  expect(await reads.read(REQUEST)).toBe('rows');
  expect(await reads.stream(REQUEST)).toBe('stream');
  expect([get.mock.calls.length, prepare.mock.calls]).toEqual([
    1,
    [['SELECT 1', { timeoutMs: 500, signal: undefined }]],
  ]);
  reads.forget('acme');
  expect([inner.forget.mock.calls, reads.openFiles]).toEqual([[['acme']], 3]);
});

it('does the same for steps, also where their results come in pieces', async () => {
  const { onewriter, awake, state, get } = setUp();
  const pieces = async function* () {
    yield awake({ type: 'rows', rows: [[1]] } as const);
    yield { type: 'end' } as const;
  };
  const steps = wakingSteps(
    { run: async () => awake('answer'), stream: pieces, release: vi.fn() } as unknown as ReadSteps,
    onewriter,
  );
  const request = { tenant: 'acme', steps: [], emptyIfMissing: false };
  const came: unknown[] = [];
  for await (const piece of steps.stream(request)) came.push(piece);
  expect(came).toEqual([{ type: 'rows', rows: [[1]] }, { type: 'end' }]);
  state.isAwake = false;
  expect(await steps.run(request)).toBe('answer');
  expect(get).toHaveBeenCalledTimes(2);
});

it('ends a read whose caller leaves with the first piece', async () => {
  const ended = vi.fn();
  const pieces = async function* () {
    try {
      for (;;) yield { type: 'end' } as const;
    } finally {
      ended();
    }
  };
  const steps = wakingSteps({ stream: pieces } as unknown as ReadSteps, setUp().onewriter);
  for await (const _ of steps.stream({ tenant: 'acme', steps: [], emptyIfMissing: false })) break;
  expect(ended).toHaveBeenCalledTimes(1);
});

it('throws what the read or the wait fails with', async () => {
  const { onewriter, get } = setUp();
  const failing = {
    read: async () => {
      throw new OnewriterError('SQL_ERROR', 'no');
    },
  };
  await expect(
    new WakingReads(failing as unknown as TenantReads, onewriter).read(REQUEST),
  ).rejects.toMatchObject({ code: 'SQL_ERROR' });
  expect(get).not.toHaveBeenCalled();
  get.mockRejectedValueOnce(new OnewriterError('TIMEOUT', 'late'));
  const away = {
    read: async () => {
      throw hibernatedError('acme');
    },
  };
  await expect(
    new WakingReads(away as unknown as TenantReads, onewriter).read(REQUEST),
  ).rejects.toMatchObject({ code: 'TIMEOUT' });
});
