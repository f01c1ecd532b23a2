import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { deadLetterQueue, type QueueAddress, tenantQueue } from '@onewriter/protocol';
import { createRedisBackend, Queue, type RedisQueueBackend } from 'bullmq';
import type { Redis } from 'ioredis';
import type { LetterActions } from '../tenants/letter-actions.ts';
import { DeadLetterAdapter } from './dead-letter-adapter.ts';
import { abbreviate, toReadableJob } from './readable-job.ts';

/** A queue that the board can show. */
export interface BoardQueue {
  readonly adapter: BullMQAdapter;
  close(): Promise<void>;
}

/**
 * Makes queues for the board. All share the one connection given: a queue is a name and a few listeners, not a
 * socket, and looking at a tenant writes nothing to Redis.
 */
export class QueueFactory {
  readonly #redis: Redis;
  readonly #group: string;
  readonly #backend: RedisQueueBackend;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#group = group;
    const { name } = deadLetterQueue(group);
    this.#backend = createRedisBackend(name, { connection: redis, skipVersionCheck: true });
    // The connection's own listener reports errors; without one here an outage of Redis would end the process.
    this.#backend.on('error', () => {});
  }

  /**
   * A tenant's queue, to look at only: pausing it would stop its writes, and removing a job from it would lose them.
   */
  tenant(tenant: string): BoardQueue {
    const queue = this.#open(tenantQueue(this.#group, tenant));
    const adapter = new BullMQAdapter(queue, {
      displayName: tenant,
      description: `Writes of tenant ${tenant}, in order`,
      readOnlyMode: true,
      allowRetries: false,
    });
    adapter.setFormatter('data', data => toReadableJob(tenant, data));
    adapter.setFormatter('returnValue', abbreviate);
    return { adapter, close: () => queue.close() };
  }

  /** The writes that were set aside: they may be sent again, or dropped. */
  deadLetters(actions: LetterActions): BoardQueue & { readonly adapter: DeadLetterAdapter } {
    const queue = this.#open(deadLetterQueue(this.#group));
    return { adapter: new DeadLetterAdapter(queue, actions), close: () => queue.close() };
  }

  async close(): Promise<void> {
    await this.#backend.close();
  }

  #open({ name, prefix }: QueueAddress): Queue {
    const backend = this.#backend.forQueue(name, prefix) as RedisQueueBackend; // typed as the interface
    return new Queue(
      name,
      { connection: this.#redis, prefix, skipMetasUpdate: true, skipVersionCheck: true },
      (): RedisQueueBackend => backend,
    );
  }
}
