import assert from 'node:assert/strict';
import { OnewriterError } from '@onewriter/protocol';
import type { VerifiedToken } from '@onewriter/runtime';

/** On whose account a pool is used: each name has a share of its own, and what is taken counts for all of them. */
export interface Owner {
  readonly names: readonly string[];
  /** A token for all tenants: a team's own, which most requests come with. */
  readonly isFleet: boolean;
}

/** The owner of what a request takes. @param tenant the tenant that it is for, where that is known */
export function ownerOf(access: VerifiedToken, tenant?: string | undefined): Owner {
  const { tenants } = access;
  const names = [`token ${access.id}`];
  const only = tenant ?? (tenants !== '*' && tenants.length === 1 ? tenants[0] : undefined);
  if (only !== undefined) names.push(`tenant ${only}`);
  return { names, isFleet: tenants === '*' };
}

/** The token, where it is one of named tenants: those of a team have all tenants. */
export function boundTokenOf({ names, isFleet }: Owner): string | undefined {
  return isFleet ? undefined : names[0];
}

/** Settings of {@link Shares}. */
export interface SharesOptions {
  /** For the message: "exports". */
  readonly what: string;
  readonly total: number;
  /** What one tenant, or one token bound to tenants, may hold of it. Default: a quarter, at least 1. */
  readonly share?: number | undefined;
  readonly retryAfterMs?: number | undefined;
}

/** What an owner has of a pool. */
export interface Taken {
  readonly amount: number;
  /** Takes more. @throws OnewriterError RATE_LIMITED; what was taken before stays */
  add(amount: number): void;
  /** Releases all of it. Idempotent. */
  release(): void;
}

/** A token for all tenants leaves this part of each pool to others. */
const FLEET_SHARE = 3 / 4;
const RETRY_AFTER_MS = 1_000;

/**
 * A bounded pool that no tenant and no token can use up alone: each may hold a share of the total. A token for all tenants may hold
 * three quarters, so that others always find the last.
 */
export class Shares {
  readonly #what: string;
  readonly #total: number;
  readonly #share: number;
  readonly #retryAfterMs: number;
  readonly #held = new Map<string, number>();
  #all = 0;

  constructor({ what, total, share, retryAfterMs = RETRY_AFTER_MS }: SharesOptions) {
    this.#what = what;
    this.#total = total;
    this.#share = Math.min(total, share ?? Math.max(1, Math.floor(total / 4)));
    this.#retryAfterMs = retryAfterMs;
  }

  /** What all hold. */
  get held(): number {
    return this.#all;
  }

  /** @throws OnewriterError RATE_LIMITED with `retryAfterMs` where the owner's share or the pool is used up */
  take(owner: Owner, amount = 1): Taken {
    let taken = 0;
    const add = (more: number) => {
      this.#take(owner, more);
      taken += more;
    };
    add(amount);
    return {
      get amount() {
        return taken;
      },
      add,
      release: () => {
        this.#count(owner, -taken);
        taken = 0;
      },
    };
  }

  /** Whether there is room for it now. */
  hasRoom(owner: Owner, amount = 1): boolean {
    return this.#all + amount <= this.#total && !this.#isOver(owner, amount);
  }

  #isOver(owner: Owner, amount: number): boolean {
    const most = owner.isFleet ? Math.max(this.#share, Math.floor(this.#total * FLEET_SHARE)) : this.#share;
    return owner.names.some((name, index) => {
      // The first name is the token's.
      const share = index === 0 ? most : this.#share;
      return (this.#held.get(name) ?? 0) + amount > share;
    });
  }

  #take(owner: Owner, amount: number): void {
    if (this.#isOver(owner, amount))
      throw this.#refusal(`This tenant's or token's share of ${this.#what} is used up`);
    if (this.#all + amount > this.#total) throw this.#refusal(`Too many ${this.#what} are under way`);
    this.#count(owner, amount);
  }

  #refusal(message: string): OnewriterError {
    return new OnewriterError('RATE_LIMITED', `${message}; try again.`, { retryAfterMs: this.#retryAfterMs });
  }

  #count(owner: Owner, amount: number): void {
    this.#all += amount;
    for (const name of owner.names) {
      const held = (this.#held.get(name) ?? 0) + amount;
      assert(held >= 0, 'More of a pool was released than was taken.');
      if (held === 0) this.#held.delete(name);
      else this.#held.set(name, held);
    }
  }
}
