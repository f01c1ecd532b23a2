import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Onewriter } from '@onewriter/sdk';
import { startRedis, startService, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { expect, it, onTestFinished } from 'vitest';
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

async function startGround() {
  const data = await temporaryDirectory('second-redis');
  onTestFinished(() => data.remove());
  const startSide = async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const client = await connect({ redis: redis.url, dataDir: data.path });
    onTestFinished(() => client.close({ timeoutMs: 1_000 }));
    const start = async () => {
      const broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
      onTestFinished(async () => void (await broker.stop()));
      return broker;
    };
    return { redis, client, start, broker: await start() };
  };
  const sides = [await startSide(), await startSide()] as const;
  for (const { broker } of sides)
    await waitFor(async () => (await readinessOf(broker)).state === 'leading', { what: 'the lead' });
  await sides[0].client.tenant('acme').exec('CREATE TABLE IF NOT EXISTS t(n)');
  return { data, sides };
}

const write = (client: Onewriter) =>
  client.tenant('acme').prepare('INSERT INTO t VALUES (1)', { timeoutMs: 2_000 }).run();

it('a broker that gave way to one of another Redis stays away while that one leads, says so, and leads when it is gone', async () => {
  const { data, sides } = await startGround();
  const [first, second] = sides;
  let ended = false;
  const end = Promise.race(sides.map(({ broker }) => broker.exited)).then(exit => {
    ended = true;
    return exit;
  });
  const writeOn = async (client: Onewriter) => {
    while (!ended) await write(client).catch(() => {});
  };
  await Promise.all([writeOn(first.client), writeOn(second.client), end]);
  expect((await end).code).toBe(1);
  const isFirstGone = first.broker.child.exitCode !== null;
  const [loser, winner] = isFirstGone ? [first, second] : [second, first];
  expect(loser.broker.logs()).toContain(loser.redis.url);
  expect(loser.broker.logs()).toContain(winner.redis.url);

  // As its supervisor does, again and again.
  const epoch = () => readFileSync(join(data.path, 'epoch'), 'utf8');
  await write(winner.client);
  const before = epoch();
  let broker = await loser.start();
  for (let start = 0; start < 3; start++) {
    const { state, ready, reasons, checks } = await waitFor(
      async () => {
        const found = await readinessOf(broker);
        return found.ready ? undefined : found;
      },
      { what: 'the finding' },
    );
    expect([state, ready]).toEqual(['standby', false]);
    expect(reasons).toEqual([checks['secondRedis']]);
    for (const { redis } of sides) expect(checks['secondRedis']).toContain(redis.url);
    expect(broker.logs()).toMatch(/"level":50.*two Redis servers/);
    for (let n = 0; n < 20; n++) await write(winner.client);
    if (start < 2) {
      await broker.stop();
      broker = await loser.start();
    }
  }
  expect(epoch()).toBe(before);
  expect(await readinessOf(winner.broker)).toMatchObject({ state: 'leading', ready: true });

  const doctor = async (redisUrl: string) => {
    const { stdout } = await runCli(['doctor', '--json', '--data-dir', data.path], {
      env: { ONEWRITER_REDIS_URL: redisUrl },
    });
    const { diagnoses } = JSON.parse(stdout) as {
      diagnoses: { check: string; level: string; found: string }[];
    };
    return diagnoses.find(({ check }) => check === 'second-redis');
  };
  const found = await doctor(loser.redis.url);
  expect(found?.level).toBe('error');
  for (const { redis } of sides) expect(found?.found).toContain(redis.url);
  expect((await doctor(winner.redis.url))?.level).toBe('warning');

  // A successor of the other side leads at once, whatever the note says.
  await winner.broker.stop();
  const next = await winner.start();
  await waitFor(async () => (await readinessOf(next)).state === 'leading', { timeoutMs: 10_000 });
  expect((await readinessOf(broker)).state).toBe('standby');
  await next.stop();
  await waitFor(async () => (await readinessOf(broker)).state === 'leading', {
    timeoutMs: GOES_ON_WITHIN_MS,
    what: 'the lead of the one that gave way',
  });
  expect(existsSync(join(data.path, 'second-redis'))).toBe(false);
  await write(loser.client);
  expect((await readinessOf(broker)).reasons).toEqual([]);
  expect((await doctor(loser.redis.url))?.level).toBe('ok');
});
