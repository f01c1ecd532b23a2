import { Queue, QueueEvents } from 'bullmq';
import { Redis } from 'ioredis';
import type { Driver, Parameters } from './driver.ts';

/** Longer than any write takes that does not hang. */
const WAIT_MS = 30_000;

/** BullMQ as its guide shows it: one job for a write, and `waitUntilFinished` for its result. */
export async function openBullmqDriver(spec: { redisUrl: string; queue: string }): Promise<Driver> {
  const connection = new Redis(spec.redisUrl, { maxRetriesPerRequest: null });
  const queue = new Queue(spec.queue, {
    connection,
    defaultJobOptions: { removeOnComplete: 100, removeOnFail: 100 },
  });
  const events = new QueueEvents(spec.queue, {
    connection: new Redis(spec.redisUrl, { maxRetriesPerRequest: null }),
  });
  events.setMaxListeners(0);
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);

  const run = async (tenant: string, statements: readonly { sql: string; params: Parameters }[]) => {
    const job = await queue.add('write', { tenant, statements });
    return (await job.waitUntilFinished(events, WAIT_MS)) as number;
  };
  // An event before the first XREAD reaches Redis is never seen: begin when events are known to arrive.
  for (let attempt = 0; ; attempt++) {
    try {
      const job = await queue.add('ping', { tenant: 'ping', statements: [] });
      await job.waitUntilFinished(events, 1_000);
      break;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }

  return {
    script: async (tenant, statements) =>
      void (await run(
        tenant,
        statements.map(sql => ({ sql, params: [] })),
      )),
    write: (tenant, sql, params) => run(tenant, [{ sql, params }]),
    read: () => Promise.reject(new Error('A queue answers no reads.')),
    transaction: async (tenant, statements) => void (await run(tenant, statements)),
    proveDurability: async tenant => `synchronous=${await run(tenant, [])}`,
    close: async () => {
      await events.close();
      await queue.close();
      connection.disconnect();
    },
  };
}
