import { OnewriterError } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { Budget } from './budget.ts';

const WAIT = { timeoutMs: 10_000, signal: undefined };

/** A tenant whose writes are let in one by one. */
class Owner {
  held = 0;
  readonly tenant: string;
  readonly entered: number[] = [];
  readonly #budget: Budget;

  constructor(budget: Budget, tenant = 'one') {
    this.#budget = budget;
    this.tenant = tenant;
  }

  enter(bytes: number, wait: { timeoutMs: number; signal: AbortSignal | undefined } = WAIT): Promise<void> {
    return this.#budget
      .takeWhenFree(this, bytes, () => this.held++, wait)
      .then(() => void this.entered.push(bytes));
  }

  leave(bytes: number): void {
    this.held--;
    this.#budget.releaseBytes(this, bytes);
    this.#budget.releaseOperation();
  }
}

const settled = () => new Promise(setImmediate);

describe('Budget.takeWhenFree', () => {
  it('lets the writes of one tenant in in their order, and does not hold up other tenants behind them', async () => {
    const budget = new Budget({
      maxTenantOperations: 2,
      maxTenantBytes: 100,
      maxOperations: 10,
      maxBytes: 100,
    });
    const [one, two] = [new Owner(budget), new Owner(budget, 'two')];
    await one.enter(60);
    const waiting = [one.enter(50), one.enter(1), two.enter(20), two.enter(30)];
    await settled();
    expect([one.entered, two.entered]).toEqual([[60], [20]]);
    two.leave(20);
    await settled();
    // 1 byte would fit, but is behind 50.
    expect([one.entered, two.entered]).toEqual([[60], [20, 30]]);
    expect(budget.bytes).toBe(90);
    one.leave(60);
    await Promise.all(waiting);
    expect(one.entered).toEqual([60, 50, 1]);
    for (const bytes of [50, 1]) one.leave(bytes);
    two.leave(30);
    expect([budget.operations, budget.bytes]).toEqual([0, 0]);
  });

  it('never counts more than its bounds, also of one tenant', async () => {
    const budget = new Budget({
      maxTenantOperations: 2,
      maxTenantBytes: 100,
      maxOperations: 3,
      maxBytes: 100,
    });
    const [one, two] = [new Owner(budget), new Owner(budget, 'two')];
    const all = [...Array(5)].flatMap(() => [one.enter(1), two.enter(1)]);
    for (let turn = 0; turn < 10; turn++) {
      await settled();
      expect(one.held).toBeLessThanOrEqual(2);
      expect(two.held).toBeLessThanOrEqual(2);
      expect(budget.operations).toBeLessThanOrEqual(3);
      (one.held > two.held ? one : two).leave(1);
    }
    await Promise.all(all);
    expect(budget.operations).toBe(0);
  });

  it('ends with BUFFER_FULL at the deadline, with ABORTED, and with the client; then the next one may go', async () => {
    const budget = new Budget({
      maxTenantOperations: 10,
      maxTenantBytes: 100,
      maxOperations: 10,
      maxBytes: 100,
    });
    const owner = new Owner(budget);
    await owner.enter(60);
    const abort = new AbortController();
    const aborted = owner.enter(90, { timeoutMs: 10_000, signal: abort.signal });
    const late = owner.enter(90, { timeoutMs: 20, signal: undefined });
    const next = owner.enter(40);
    abort.abort();
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(late).rejects.toMatchObject({ code: 'BUFFER_FULL', details: { retryAfterMs: 100 } });
    await next;
    const waiting = owner.enter(1);
    budget.refuseWaiting(new OnewriterError('CLOSED', 'closed'));
    await expect(waiting).rejects.toMatchObject({ code: 'CLOSED' });
    expect([budget.operations, budget.bytes, owner.held]).toEqual([2, 100, 2]);
  });
});

describe('Budget.take', () => {
  it('leaves bytes to other tenants when one takes all it can, also with a transaction beside its writes', () => {
    const budget = new Budget({
      maxTenantOperations: 10,
      maxTenantBytes: 40,
      maxOperations: 10,
      maxBytes: 100,
    });
    const [greedy, same, other] = [
      new Owner(budget, 'greedy'),
      new Owner(budget, 'greedy'),
      new Owner(budget),
    ];
    budget.take(greedy, 40);
    for (const owner of [greedy, same])
      expect(() => budget.take(owner, 1)).toThrow('40 bytes of this tenant');
    budget.take(other, 20);
    budget.releaseBytes(greedy, 40);
    // A write that is larger than the share goes alone.
    budget.take(greedy, 60);
    expect(budget.bytes).toBe(80);
  });
});
