import { DeadLetters, RedisLink } from '@onewriter/broker';
import { newJobId, PROTOCOL_VERSION, receiptId } from '@onewriter/protocol';
import { createLogger } from '@onewriter/runtime';
import { startRedis } from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { expect, it, onTestFinished } from 'vitest';

async function startLink() {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const log = createLogger('test', 'silent');
  const link = new RedisLink({ url: redis.url, log, name: 'test' });
  onTestFinished(() => link.close());
  await link.ready();
  return { redis, link, log };
}

it('the dead-letter queue keeps the newest letters up to its bound, and each once', async () => {
  const { redis, link, log } = await startLink();
  const letters = new DeadLetters(link, 'default', log, 5);
  onTestFinished(() => letters.close());

  const error = { code: 'SQL_ERROR', message: 'no such table' };
  const add = async (id: string) => {
    const data = JSON.stringify({
      v: PROTOCOL_VERSION,
      client: 'c',
      seq: 1,
      at: 0,
      sql: ['x', 'y'],
      ops: [{ s: 1, d: 1 }],
    });
    await letters.add('acme', { id, data }, [{ receiptId: receiptId(id, 0), sql: 'y', error }]);
  };
  const ids = Array.from({ length: 8 }, newJobId);
  for (const id of ids) {
    await add(id);
    await add(id);
  }
  const queue = new Queue('dead-letters', { connection: { url: redis.url }, prefix: 'ow:{default}' });
  onTestFinished(() => queue.close());
  const kept = await queue.getJobs('wait', 0, -1, true);
  expect(kept.map(letter => letter.data.receiptId)).toEqual(ids.slice(3).map(id => receiptId(id, 0)));
  expect(kept[0]?.data.message).toMatchObject({ sql: ['y'], ops: [{ s: 0, d: 1 }] });
});

it('the dead-letter queue keeps the newest letters up to its bytes, also those of another leader', async () => {
  const { redis, link, log } = await startLink();
  const error = { code: 'SQL_ERROR', message: 'no such table' };
  const open = () => {
    const letters = new DeadLetters(link, 'default', log, 1_000, 100_000);
    onTestFinished(() => letters.close());
    return letters;
  };
  const add = async (letters: DeadLetters, id: string, bytes: number) => {
    const op = { s: 0, p: ['x'.repeat(bytes)], d: 1 };
    const data = JSON.stringify({ v: PROTOCOL_VERSION, client: 'c', seq: 1, at: 0, sql: ['y'], ops: [op] });
    await letters.add('acme', { id, data }, [{ receiptId: receiptId(id, 0), sql: 'y', error }]);
  };
  const queue = new Queue('dead-letters', { connection: { url: redis.url }, prefix: 'ow:{default}' });
  onTestFinished(() => queue.close());
  const bytes = async () => {
    const kept = await queue.getJobs('wait', 0, -1, true);
    return kept.reduce((sum, letter) => sum + JSON.stringify(letter.data).length, 0);
  };

  let letters = open();
  const ids = Array.from({ length: 30 }, newJobId);
  for (const [index, id] of ids.entries()) {
    if (index === 15) letters = open();
    await add(letters, id, 9_000);
    expect(await bytes()).toBeLessThanOrEqual(100_000);
  }
  const kept = (await queue.getJobs('wait', 0, -1, true)).map(letter => letter.data.receiptId);
  expect(kept.length).toBeGreaterThanOrEqual(9);
  expect(kept).toEqual(ids.slice(-kept.length).map(id => receiptId(id, 0)));
  // One that is larger than all may be stays alone.
  const large = newJobId();
  await add(letters, large, 200_000);
  expect((await queue.getJobs('wait')).map(letter => letter.data.receiptId)).toEqual([receiptId(large, 0)]);
});
