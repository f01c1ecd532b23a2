import type { Logger } from '@onewriter/runtime';
import { expect, it, onTestFinished, vi } from 'vitest';
import { Doorbell, type Fetcher } from './doorbell.ts';
import type { RedisLink } from './redis-link.ts';

/** The sorted set in Redis, and a connection on which commands are executed in order: the wait holds the others up. */
class ModelRedis {
  readonly #notified: string[] = [];
  #ring: (() => void) | undefined;
  #last: Promise<unknown> = Promise.resolve();

  ring(...tenants: string[]): void {
    this.#notified.push(...tenants);
    this.#ring?.();
  }

  call(command: string, _key?: string, count = 0): Promise<unknown> {
    if (command === 'ZADD') {
      this.ring('-');
      return Promise.resolve(1);
    }
    return this.execute(async () => {
      const pairs = (notified: readonly string[]) => notified.flatMap(tenant => [tenant, '0']);
      if (command === 'ZPOPMIN') return pairs(this.#notified.splice(0, count));
      if (command === 'ZPOPMAX') return pairs(this.#notified.splice(-count).toReversed());
      while (this.#notified.length === 0) await new Promise<void>(resolve => (this.#ring = resolve));
      return ['notifications', this.#notified.shift()!, '0'];
    });
  }

  /** Commands executed after all that were sent before. */
  execute<Result>(command: () => Result | Promise<Result>): Promise<Result> {
    const result = this.#last.then(command);
    this.#last = result;
    return result;
  }

  readonly link = {
    call: (command: string, key?: string, count?: number) => this.call(command, key, count),
    retryUntilDone: (attempt: () => Promise<unknown>) => attempt(),
    close: () => this.ring('closed'),
  } as unknown as RedisLink;
}

/** A doorbell that listens, and a record of its calls. */
function listen(fetchers: Record<string, Partial<Fetcher>>) {
  const redis = new ModelRedis();
  const reported: string[] = [];
  const doorbell = new Doorbell({
    link: redis.link,
    key: 'notifications',
    onNotified: tenants => reported.push(tenants.join(' ')),
    fetcher: tenant =>
      fetchers[tenant] && {
        untilFetched: async () => {},
        afterFetch: async () => {},
        fetchAtNotification: () => redis.execute(() => void reported.push(`fetch ${tenant}`)),
        ...fetchers[tenant],
      },
    log: { error: (error: unknown) => reported.push(String(error)) } as unknown as Logger,
  });
  const listening = doorbell.listen();
  onTestFinished(async () => {
    doorbell.stop();
    await listening;
  });
  return {
    redis,
    reported,
    doorbell,
    /** Notifies, and waits until the doorbell received it. */
    async ring(...tenants: string[]) {
      const before = reported.length;
      redis.ring(...tenants);
      await vi.waitFor(() => expect(reported.length).toBeGreaterThan(before), { interval: 1 });
      await new Promise(setImmediate);
    },
  };
}

it('fetches the jobs of a tenant that notified alone twice with the next notification, and does not report that one', async () => {
  const { ring, reported } = listen({ acme: {} });
  for (let count = 0; count < 4; count++) await ring('acme');
  expect(reported).toEqual(['acme', 'acme', 'fetch acme', 'fetch acme']);
});

it('reports all others, also where they ended the wait', async () => {
  const { ring, reported } = listen({ acme: {}, beta: {} });
  for (let count = 0; count < 2; count++) await ring('acme');
  await ring('beta', 'acme', 'gamma');
  await ring('acme', 'beta');
  expect(reported).toEqual(['acme', 'acme', 'fetch acme', 'beta gamma', 'acme beta']);
});

it('reports a notification where nothing is to be fetched behind the wait', async () => {
  const { ring, reported } = listen({ acme: { fetchAtNotification: () => undefined } });
  for (let count = 0; count < 3; count++) await ring('acme');
  expect(reported).toEqual(['acme', 'acme', 'acme']);
});

it('waits only when the fetch before is done', async () => {
  let resolveFetch: () => void = () => {};
  const fetching = new Promise<void>(resolve => (resolveFetch = resolve));
  const untilFetched = () => fetching;
  const { redis, ring, reported } = listen({ acme: { untilFetched } });
  for (let count = 0; count < 2; count++) await ring('acme');
  redis.ring('acme');
  await new Promise(setImmediate);
  expect(reported).toEqual(['acme', 'acme']);
  resolveFetch();
  await vi.waitFor(() => expect(reported).toEqual(['acme', 'acme', 'fetch acme']));
});

it('ends the wait, and the fetch behind it, on request, and reports no tenant', async () => {
  const { redis, doorbell, ring, reported } = listen({ acme: {} });
  for (let count = 0; count < 2; count++) await ring('acme');
  await doorbell.wake(redis.link);
  await vi.waitFor(() => expect(reported).toEqual(['acme', 'acme', 'fetch acme']));
  await ring('beta');
  expect(reported).toEqual(['acme', 'acme', 'fetch acme', 'beta']);
});

it('answers the newest of many notifications with the oldest, and more of each next crowd', async () => {
  const { ring, reported } = listen({});
  const tenants = Array.from({ length: 1_000 }, (_, index) => `t${index}`);
  await ring(...tenants);
  await vi.waitFor(() => expect(reported.join(' ').split(' ')).toHaveLength(1_000));
  expect(reported[0]!.split(' ')).toEqual(tenants.slice(0, 12));
  const second = reported[1]!.split(' ');
  expect(second.slice(0, 24)).toEqual(tenants.slice(12, 36));
  expect(second.slice(24)).toEqual(tenants.slice(-8).toReversed());
  expect(reported.slice(2, 6).map(line => line.split(' ').length)).toEqual([64, 128, 128, 128]);
});

it('answers more of a crowd when the jobs of those before were fetched, or after a second', async () => {
  const open = new Map<string, () => void>();
  const afterFetch = (tenant: string) => () => new Promise<void>(resolve => open.set(tenant, resolve));
  const tenants = Array.from({ length: 50 }, (_, index) => `t${index}`);
  const fetchers = Object.fromEntries(
    tenants.map(tenant => [tenant, { afterFetch: afterFetch(tenant), fetchAtNotification: () => undefined }]),
  );
  const { ring, reported } = listen(fetchers);
  await ring(...tenants);
  await vi.waitFor(() => expect(open.size).toBe(12));
  await new Promise(setImmediate);
  expect(reported).toHaveLength(1);
  for (const [tenant, resolveFetch] of open) if (tenant !== 't7') resolveFetch();
  await new Promise(setImmediate);
  expect(reported).toHaveLength(1);
  open.get('t7')!();
  await vi.waitFor(() => expect(reported).toHaveLength(2));
  // The rest comes although no job of these is ever fetched.
  await vi.waitFor(() => expect(reported.join(' ').split(' ')).toHaveLength(50), { timeout: 5_000 });
});
