import type { Logger } from '@onewriter/runtime';
import { expect, it, onTestFinished, vi } from 'vitest';
import { Doorbell, type Taker } from './doorbell.ts';
import type { RedisLink } from './redis-link.ts';

/** The sorted set in Redis, and a connection on which commands are executed in order: the wait holds the others up. */
class ModelRedis {
  readonly #bells: string[] = [];
  #ring: (() => void) | undefined;
  #last: Promise<unknown> = Promise.resolve();

  ring(...tenants: string[]): void {
    this.#bells.push(...tenants);
    this.#ring?.();
  }

  call(command: string, _key?: string, count = 0): Promise<unknown> {
    if (command === 'ZADD') {
      this.ring('-');
      return Promise.resolve(1);
    }
    return this.execute(async () => {
      const pairs = (bells: readonly string[]) => bells.flatMap(tenant => [tenant, '0']);
      if (command === 'ZPOPMIN') return pairs(this.#bells.splice(0, count));
      if (command === 'ZPOPMAX') return pairs(this.#bells.splice(-count).toReversed());
      while (this.#bells.length === 0) await new Promise<void>(resolve => (this.#ring = resolve));
      return ['bell', this.#bells.shift()!, '0'];
    });
  }

  /** What is executed behind all that was sent before. */
  execute<Result>(command: () => Result | Promise<Result>): Promise<Result> {
    const result = this.#last.then(command);
    this.#last = result;
    return result;
  }

  readonly link = {
    call: (command: string, key?: string, count?: number) => this.call(command, key, count),
    insist: (attempt: () => Promise<unknown>) => attempt(),
    close: () => this.ring('closed'),
  } as unknown as RedisLink;
}

/** A doorbell that is listened to, and what it does. */
function listen(takers: Record<string, Partial<Taker>>) {
  const redis = new ModelRedis();
  const rung: string[] = [];
  const doorbell = new Doorbell({
    link: redis.link,
    key: 'bell',
    onRing: tenants => rung.push(tenants.join(' ')),
    taker: tenant =>
      takers[tenant] && {
        untilTaken: async () => {},
        afterTake: async () => {},
        takeAtBell: () => redis.execute(() => void rung.push(`take ${tenant}`)),
        ...takers[tenant],
      },
    log: { error: (error: unknown) => rung.push(String(error)) } as unknown as Logger,
  });
  const listening = doorbell.listen();
  onTestFinished(async () => {
    doorbell.stop();
    await listening;
  });
  return {
    redis,
    rung,
    doorbell,
    /** Rings, and waits until it was heard. */
    async ring(...tenants: string[]) {
      const before = rung.length;
      redis.ring(...tenants);
      await vi.waitFor(() => expect(rung.length).toBeGreaterThan(before), { interval: 1 });
      await new Promise(setImmediate);
    },
  };
}

it('takes the jobs of whom rang alone twice with the next bell, and does not ring for it then', async () => {
  const { ring, rung } = listen({ acme: {} });
  for (let count = 0; count < 4; count++) await ring('acme');
  expect(rung).toEqual(['acme', 'acme', 'take acme', 'take acme']);
});

it('rings for all others, also where they ended the wait', async () => {
  const { ring, rung } = listen({ acme: {}, beta: {} });
  for (let count = 0; count < 2; count++) await ring('acme');
  await ring('beta', 'acme', 'gamma');
  await ring('acme', 'beta');
  expect(rung).toEqual(['acme', 'acme', 'take acme', 'beta gamma', 'acme beta']);
});

it('rings where nothing is to be taken behind the wait', async () => {
  const { ring, rung } = listen({ acme: { takeAtBell: () => undefined } });
  for (let count = 0; count < 3; count++) await ring('acme');
  expect(rung).toEqual(['acme', 'acme', 'acme']);
});

it('waits at the door only when the take before it is done', async () => {
  let taken: () => void = () => {};
  const taking = new Promise<void>(resolve => (taken = resolve));
  const untilTaken = () => taking;
  const { redis, ring, rung } = listen({ acme: { untilTaken } });
  for (let count = 0; count < 2; count++) await ring('acme');
  redis.ring('acme');
  await new Promise(setImmediate);
  expect(rung).toEqual(['acme', 'acme']);
  taken();
  await vi.waitFor(() => expect(rung).toEqual(['acme', 'acme', 'take acme']));
});

it('ends the wait, and the take behind it, when it is asked to, and rings for nobody', async () => {
  const { redis, doorbell, ring, rung } = listen({ acme: {} });
  for (let count = 0; count < 2; count++) await ring('acme');
  await doorbell.wake(redis.link);
  await vi.waitFor(() => expect(rung).toEqual(['acme', 'acme', 'take acme']));
  await ring('beta');
  expect(rung).toEqual(['acme', 'acme', 'take acme', 'beta']);
});

it('answers the newest of many bells with the oldest, and more of each next crowd', async () => {
  const { ring, rung } = listen({});
  const tenants = Array.from({ length: 1_000 }, (_, index) => `t${index}`);
  await ring(...tenants);
  await vi.waitFor(() => expect(rung.join(' ').split(' ')).toHaveLength(1_000));
  expect(rung[0]!.split(' ')).toEqual(tenants.slice(0, 12));
  const second = rung[1]!.split(' ');
  expect(second.slice(0, 24)).toEqual(tenants.slice(12, 36));
  expect(second.slice(24)).toEqual(tenants.slice(-8).toReversed());
  expect(rung.slice(2, 6).map(line => line.split(' ').length)).toEqual([64, 128, 128, 128]);
});

it('answers more of a crowd when the jobs of those before were taken, or after a second', async () => {
  const open = new Map<string, () => void>();
  const afterTake = (tenant: string) => () => new Promise<void>(resolve => open.set(tenant, resolve));
  const tenants = Array.from({ length: 50 }, (_, index) => `t${index}`);
  const takers = Object.fromEntries(
    tenants.map(tenant => [tenant, { afterTake: afterTake(tenant), takeAtBell: () => undefined }]),
  );
  const { ring, rung } = listen(takers);
  await ring(...tenants);
  await vi.waitFor(() => expect(open.size).toBe(12));
  await new Promise(setImmediate);
  expect(rung).toHaveLength(1);
  for (const [tenant, taken] of open) if (tenant !== 't7') taken();
  await new Promise(setImmediate);
  expect(rung).toHaveLength(1);
  open.get('t7')!();
  await vi.waitFor(() => expect(rung).toHaveLength(2));
  // The rest comes although none of these is ever taken.
  await vi.waitFor(() => expect(rung.join(' ').split(' ')).toHaveLength(50), { timeout: 5_000 });
});
