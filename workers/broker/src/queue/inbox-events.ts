import {
  answerKey,
  eventsKey,
  inboxQueue,
  LIMITS,
  PROTOCOL_VERSION,
  SETTLED_EVENT,
  type WireError,
} from '@onewriter/protocol';
import { LRUCache } from 'lru-cache';
import { AnswerRoom, resultsWithoutRoom } from './answer-room.ts';
import type { RedisLink } from './redis-link.ts';

/** A client's answer for one of its jobs. */
export interface Settlement {
  readonly jobId: string;
  /** '' where the message does not name it: then no client can be answered. */
  readonly client: string;
  readonly tenant: string;
  /** 0 where nothing was committed. */
  readonly commitSeq: number;
  /** JSON of WireOperationResult[]; '' where the ledger has to be read. */
  readonly results: string;
  /** JSON of WireOperationResult[], where no ledger has them: kept in Redis for a while. */
  readonly answer?: string | undefined;
  /** How many reads the job has, where it has nothing else. */
  readonly reads?: number | undefined;
  /** When the replica had it, ms since the epoch; 0: that was waited for in vain. Undefined where it was not waited for. */
  readonly replicatedAt?: number | undefined;
  /** The whole job was refused. */
  readonly error?: WireError | undefined;
}

/** Clients whose inbox was renewed recently, at most; others are renewed again. */
const MAX_CLIENTS = 20_000;
/** A client id becomes part of keys: no SDK makes one that is longer or has braces. */
const CLIENT_ID = /^[A-Za-z0-9-]{1,80}$/;

/**
 * Sends clients the outcome of their jobs: a custom event on the BullMQ queue that is the client's inbox, of which only the
 * event stream exists. Events are a hint: a client that misses one asks.
 */
export class InboxEvents {
  readonly #link: RedisLink;
  readonly #group: string;
  readonly #room = new AnswerRoom();
  /** Clients whose inbox was renewed recently. */
  readonly #renewed = new LRUCache<string, true>({
    max: MAX_CLIENTS,
    ttl: LIMITS.inboxTtlMs / 4,
    ttlResolution: 0,
  });

  constructor(link: RedisLink, group: string) {
    this.#link = link;
    this.#group = group;
  }

  /**
   * Adds the events to this turn's pipeline. Never rejects.
   * @returns whether Redis accepted all of them; false also if its answer was lost.
   */
  async publish(settlements: readonly Settlement[]): Promise<boolean> {
    const replies = [];
    for (const settlement of settlements) {
      if (!CLIENT_ID.test(settlement.client)) continue;
      const { tenant, jobId, answer, reads } = settlement;
      if (
        answer !== undefined &&
        reads !== undefined &&
        !this.#room.take(tenant, Buffer.byteLength(answer))
      ) {
        replies.push(this.#add({ ...settlement, results: resultsWithoutRoom(reads) }));
        continue;
      }
      if (answer !== undefined) {
        const ttlMs = reads === undefined ? LIMITS.transactionAnswerTtlMs : LIMITS.ownerAnswerTtlMs;
        replies.push(this.#link.call('SET', answerKey(this.#group, tenant, jobId), answer, 'PX', ttlMs));
      }
      replies.push(this.#add(settlement));
    }
    const answers = await Promise.allSettled(replies);
    return answers.every(({ status }) => status === 'fulfilled');
  }

  /**
   * A stream that was renewed recently has an expiry, if it still exists. If not (its client closed it, or Redis lost its data),
   * a separate XADD creates it, with an expiry: otherwise it would stay for good.
   */
  async #add(settlement: Settlement): Promise<void> {
    const { client } = settlement;
    const key = eventsKey(inboxQueue(this.#group, client));
    const event = [
      'MAXLEN',
      '~',
      LIMITS.maxInboxEvents,
      '*',
      'event',
      SETTLED_EVENT,
      'v',
      PROTOCOL_VERSION,
      'jobId',
      settlement.jobId,
      'tenant',
      settlement.tenant,
      'commitSeq',
      settlement.commitSeq,
      'results',
      settlement.results,
      'error',
      settlement.error === undefined ? '' : JSON.stringify(settlement.error),
    ];
    if (settlement.replicatedAt !== undefined) event.push('replicatedAt', settlement.replicatedAt);
    if (!this.#isDue(client) && (await this.#link.call('XADD', key, 'NOMKSTREAM', ...event)) !== null) return;
    try {
      await Promise.all([
        this.#link.call('XADD', key, ...event),
        this.#link.call('PEXPIRE', key, LIMITS.inboxTtlMs),
      ]);
    } catch (error) {
      this.#renewed.delete(client);
      throw error;
    }
  }

  #isDue(client: string): boolean {
    if (this.#renewed.get(client) !== undefined) return false;
    this.#renewed.set(client, true);
    return true;
  }
}
