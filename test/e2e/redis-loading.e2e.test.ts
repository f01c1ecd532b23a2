import { groupKeys } from '@onewriter/protocol';
import { startRedis, startService, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';

/* A Redis that needs seconds to load its data, as a large AOF does. */

/** Time to load one command, µs, and the number of commands: Redis answers after each 1,024 of them. */
const LOAD_DELAY_US = '1000';
const COMMANDS = 4_000;

it('a broker leads within 2 s of Redis answering, where the leader was killed with it', async () => {
  const redis = await startRedis({
    appendonly: 'always',
    settings: { 'key-load-delay': LOAD_DELAY_US, 'loading-process-events-interval-bytes': '1024' },
  });
  onTestFinished(() => redis.stop());
  const data = await temporaryDirectory('loading');
  onTestFinished(() => data.remove());
  const startBroker = async () => {
    const broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
    onTestFinished(async () => void (await broker.stop()));
    return broker;
  };
  const stateOf = async ({ url }: { url: string }) =>
    ((await (await fetch(`${url}/readyz`)).json()) as { state: string }).state;
  const first = await startBroker();
  await waitFor(async () => (await stateOf(first)) === 'leading');
  const second = await startBroker();
  const commands = new Redis(redis.url, { enableReadyCheck: false, retryStrategy: () => 20 });
  onTestFinished(() => commands.disconnect());
  commands.on('error', () => {}); // it connects again
  await Promise.all(Array.from({ length: COMMANDS }, () => commands.set('filler', 'x'.repeat(100))));
  redis.kill();
  first.kill('SIGKILL');
  const restarted = redis.restart();
  let loading = false;
  await waitFor(
    async () => {
      const answer = await commands.exists(groupKeys('default').epoch).catch(error => String(error));
      loading ||= String(answer).includes('LOADING');
      return answer === 1;
    },
    { timeoutMs: 60_000, intervalMs: 10, what: 'Redis to answer' },
  );
  const answersAt = performance.now();
  await waitFor(async () => (await stateOf(second)) === 'leading');
  const tookMs = performance.now() - answersAt;
  await restarted;
  expect(loading).toBe(true);
  expect(tookMs).toBeLessThan(2_000);
});
