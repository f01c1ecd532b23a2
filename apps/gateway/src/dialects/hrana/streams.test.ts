import type { VerifiedToken } from '@onewriter/runtime';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BatonSigner } from './baton.ts';
import { SqlStore } from './sql-store.ts';
import { StreamRegistry } from './streams.ts';

const SNAPSHOT = { mayHold: true, mayRead: true };
const TEXTS = { mayHold: true, mayRead: false };

function openRegistry() {
  const registry = new StreamRegistry({
    signer: new BatonSigner('secret'),
    readIdleMs: 60_000,
    onEnd: () => {},
    onSnapshotExpired: () => {},
  });
  onTestFinished(() => registry.close());
  /** A stream that keeps what its plan may hold. */
  const hold = (
    tenant: string,
    access: VerifiedToken,
    plan = SNAPSHOT,
    sqls = new SqlStore([[1, 'SELECT 1']]),
  ) => {
    const stream = registry.find(null, tenant, access);
    registry.begin(stream, sqls, plan, async () => {});
    if (plan.mayRead) {
      const kept = { name: stream.id, readonly: false, commitSeq: 1, incarnation: undefined, endsAt: 1e12 };
      stream.state = { type: 'reading', ...kept };
    }
    registry.finish(stream);
    return stream;
  };
  return { registry, hold };
}

function tokenOf(id: string, ...tenants: string[]): VerifiedToken {
  return { id, tenants } as unknown as VerifiedToken;
}

const greedy = tokenOf('greedy', 'a', 'b', 'c', 'd', 'e', 'f');
const other = tokenOf('other', 'z');

describe('StreamRegistry', () => {
  it('leaves snapshots to others where one token takes all it can, in many tenants', () => {
    const { registry, hold } = openRegistry();
    const held = Array.from({ length: 32 }, (_, index) => hold(greedy.tenants[index % 6]!, greedy));
    expect(() => hold('a', greedy)).toThrow('share of open snapshots');
    hold('z', other);
    // What a stream had before the refusal stays; its snapshot counts only while it has one.
    const texts = hold('a', greedy, TEXTS);
    expect(() => registry.begin(texts, texts.sqls, SNAPSHOT, async () => {})).toThrow('snapshots');
    registry.end(held[0]!);
    registry.begin(texts, texts.sqls, SNAPSHOT, async () => {});
    registry.finish(texts);
    hold('b', greedy);
  });

  it('leaves streams and SQL texts to others', () => {
    const { hold } = openRegistry();
    for (let index = 0; index < 100; index++) hold(greedy.tenants[index % 6]!, greedy, TEXTS);
    expect(() => hold('a', greedy, TEXTS)).toThrow('share of open transactions');
    hold('z', other, TEXTS);
    const long = tokenOf('long', 'x', 'y');
    const texts = () => new SqlStore(Array.from({ length: 50 }, (_, id) => [id, 'x'.repeat(5_000)] as const));
    const most = Math.floor((4 * 1024 * 1024) / 250_000);
    for (let index = 0; index < most; index++) hold(index % 2 === 0 ? 'x' : 'y', long, TEXTS, texts());
    expect(() => hold('x', long, TEXTS, texts())).toThrow('share of stored SQL texts');
    hold('z', other, TEXTS, texts());
  });
});
