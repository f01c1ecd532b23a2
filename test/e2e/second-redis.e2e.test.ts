import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Onewriter } from '@onewriter/sdk';
import { startRedis, startService, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { describe, it, type TestContext } from 'vitest';
import { runCli } from './cli-run.ts';

interface Readiness {
  readonly state: string;
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly checks: Readonly<Record<string, string>>;
}

async function readinessOf(broker: { readonly url: string }): Promise<Readiness> {
  return (await (await fetch(`${broker.url}/readyz`)).json()) as Readiness;
}

/** Longer than a leader has to be silent. */
const GOES_ON_WITHIN_MS = 60_000;

/** A data directory, and what uses it through a Redis. */
async function startGround({ onTestFinished }: TestContext) {
  const data = await temporaryDirectory('second-redis');
  onTestFinished(() => data.remove());
  const makeSide = async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const client = await connect({ redis: redis.url, dataDir: data.path });
    onTestFinished(() => client.close({ timeoutMs: 1_000 }));
    const start = async () => {
      const broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
      onTestFinished(async () => void (await broker.stop()));
      return broker;
    };
    return { redis, client, start };
  };
  const doctor = async (redisUrl: string) => {
    const { stdout } = await runCli(['doctor', '--json', '--data-dir', data.path], {
      env: { ONEWRITER_REDIS_URL: redisUrl },
    });
    const { diagnoses } = JSON.parse(stdout) as {
      diagnoses: { check: string; level: string; found: string }[];
    };
    return diagnoses.find(({ check }) => check === 'second-redis');
  };
  return { data, makeSide, doctor };
}

async function untilLeading(broker: { readonly url: string }, timeoutMs = 10_000): Promise<number> {
  const began = performance.now();
  const state = async () => (await readinessOf(broker)).state === 'leading';
  await waitFor(state, { what: 'the lead', timeoutMs });
  return performance.now() - began;
}

const write = (client: Onewriter, tenant = 'acme') =>
  client.tenant(tenant).prepare('INSERT INTO t VALUES (1)', { timeoutMs: 5_000 }).run();

// At once: both wait until a leader was silent for long enough.
describe.concurrent('two Redis over one data directory', () => {
  it('a broker of a second Redis does not lead while one of the first does, says so, and does not take over from its successor', async context => {
    const { expect } = context;
    const { data, makeSide, doctor } = await startGround(context);
    const [first, second] = [await makeSide(), await makeSide()];
    let leader = await first.start();
    await untilLeading(leader);
    await first.client.tenant('acme').exec('CREATE TABLE t(n)');
    const epoch = () => readFileSync(join(data.path, 'epoch'), 'utf8');
    const before = epoch();
    expect((await doctor(second.redis.url))?.level).toBe('error');

    // As its supervisor does, again and again.
    let stray = await second.start();
    for (let start = 0; start < 3; start++) {
      const { state, ready, reasons, checks } = await waitFor(
        async () => {
          const found = await readinessOf(stray);
          return found.ready ? undefined : found;
        },
        { what: 'the finding' },
      );
      expect([state, ready]).toEqual(['standby', false]);
      expect(reasons).toEqual([checks['secondRedis']]);
      for (const { redis } of [first, second]) expect(checks['secondRedis']).toContain(redis.url);
      expect(stray.logs()).toMatch(/"level":50.*MISCONFIGURED.*another Redis/);
      for (let n = 0; n < 20; n++) await write(first.client);
      if (start < 2) {
        await stray.stop();
        stray = await second.start();
      }
    }
    expect(epoch()).toBe(before);
    expect(await readinessOf(leader)).toMatchObject({ state: 'leading', ready: true });
    const found = await waitFor(
      async () => {
        const diagnosis = await doctor(first.redis.url);
        return diagnosis?.level === 'warning' ? diagnosis : undefined;
      },
      { what: 'a word of the stray one', timeoutMs: 30_000, intervalMs: 1_000 },
    );
    for (const { redis } of [first, second]) expect(found.found).toContain(redis.url);
    expect((await doctor(second.redis.url))?.level).toBe('error');

    // A successor leads at once, although the other waits.
    await leader.stop();
    leader = await first.start();
    await untilLeading(leader);
    expect((await readinessOf(stray)).state).toBe('standby');

    // The first Redis is lost, and its broker: a new one leads at once, unlike one that stood aside.
    leader.child.kill('SIGKILL');
    await leader.exited;
    const third = await makeSide();
    leader = await third.start();
    expect(await untilLeading(leader)).toBeLessThan(3_000);
    await write(third.client);
    expect((await readinessOf(stray)).state).toBe('standby');

    await leader.stop();
    await untilLeading(stray, GOES_ON_WITHIN_MS);
    await write(second.client);
    expect((await readinessOf(stray)).reasons).toEqual([]);
    expect((await doctor(second.redis.url))?.level).toBe('ok');
  });

  it('a leader that was stopped until one of another Redis took over ends with its next renewal, though they met in no file, and comes back when that one is gone', async context => {
    const { expect } = context;
    const { makeSide, doctor } = await startGround(context);
    const [first, second] = [await makeSide(), await makeSide()];
    const stopped = await first.start();
    await untilLeading(stopped);
    await first.client.tenant('acme').exec('CREATE TABLE t(n)');
    stopped.child.kill('SIGSTOP');
    const other = await second.start();
    await untilLeading(other, GOES_ON_WITHIN_MS);
    await second.client.tenant('other').exec('CREATE TABLE t(n)');
    const continued = performance.now();
    stopped.child.kill('SIGCONT');
    expect((await stopped.exited).code).toBe(1);
    expect(performance.now() - continued).toBeLessThan(3_000);
    // Nothing is wrong with Redis.
    expect(stopped.logs()).not.toContain('not reachable');
    for (const { redis } of [first, second]) expect(stopped.logs()).toContain(redis.url);

    const again = await first.start();
    await waitFor(async () => !(await readinessOf(again)).ready, { what: 'the finding' });
    await write(second.client, 'other');
    expect((await doctor(first.redis.url))?.level).toBe('error');
    await other.stop();
    expect(await untilLeading(again, GOES_ON_WITHIN_MS)).toBeLessThan(15_000);
    await write(first.client);
  });
});
