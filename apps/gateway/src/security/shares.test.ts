import { RIGHTS_OF, type VerifiedToken } from '@onewriter/runtime';
import { describe, expect, it } from 'vitest';
import { ownerOf, Shares } from './shares.ts';

function token(id: string, tenants: readonly string[] | '*'): VerifiedToken {
  const end = { issuedAtMs: undefined, expiresAtMs: Number.POSITIVE_INFINITY };
  return { id, tenants, rights: RIGHTS_OF.write, subject: undefined, jti: undefined, ...end };
}

const full = expect.objectContaining({ code: 'RATE_LIMITED', details: { retryAfterMs: 1_000 } });

describe('Shares', () => {
  it('leave the rest of the pool to others, whatever one tenant and its tokens take', () => {
    const shares = new Shares({ what: 'streams', total: 8 });
    const first = ownerOf(token('t1', ['acme']));
    const second = ownerOf(token('t2', ['acme']));
    shares.take(first);
    const taken = shares.take(second);
    for (const owner of [first, second]) expect(() => shares.take(owner)).toThrow(full);
    shares.take(ownerOf(token('t3', ['globex'])));
    taken.release();
    taken.release();
    shares.take(second);
    expect(shares.held).toBe(3);
  });

  it('let a token for all tenants have three quarters, and each of its tenants a quarter', () => {
    const shares = new Shares({ what: 'streams', total: 8 });
    const fleet = token('fleet', '*');
    for (const tenant of ['a', 'a', 'b', 'b', 'c', 'c']) shares.take(ownerOf(fleet, tenant));
    expect(() => shares.take(ownerOf(fleet, 'd'))).toThrow(full);
    shares.take(ownerOf(token('t', ['d', 'e']), 'd'));
    expect(() => shares.take(ownerOf(token('u', ['a', 'b']), 'a'))).toThrow(full);
    shares.take(ownerOf(token('u', ['a', 'e']), 'e'));
    expect(() => shares.take(ownerOf(token('v', ['x'])))).toThrow(full);
  });

  it('count amounts as they grow', () => {
    const shares = new Shares({ what: 'bodies', total: 100, share: 40 });
    const owner = ownerOf(token('t', ['acme']));
    const taken = shares.take(owner, 0);
    taken.add(40);
    expect(() => taken.add(1)).toThrow(full);
    expect(shares.held).toBe(40);
    taken.release();
    expect(shares.held).toBe(0);
    shares.take(owner, 40);
  });
});
