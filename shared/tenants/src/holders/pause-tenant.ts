import { groupKeys, OnewriterError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { REMOVE_HOLD } from './hold-scripts.ts';
import { holdKeys, type PauseNote, REPEAT_OFFENDER } from './tenant-holder.ts';
import { withHeldTenant } from './with-held-tenant.ts';

/** Limit of a person's reason, in characters. */
export const MAX_REASON_LENGTH = 300;

/**
 * What moves a terminal's cursor, or turns the direction of text: control characters, and marks, embeddings and isolates of
 * Unicode's bidirectional algorithm.
 */
const UNSEEN = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu;

/** A reason as a person typed it, in one line; '' where there is none. @throws OnewriterError INVALID_ARGUMENT */
export function readReason(text: string): string {
  const reason = text.replace(UNSEEN, ' ').replace(/\s+/g, ' ').trim();
  if ([...reason].length > MAX_REASON_LENGTH) {
    throw new OnewriterError('INVALID_ARGUMENT', `A reason has at most ${MAX_REASON_LENGTH} characters.`);
  }
  return reason;
}

/** Whether a person has paused a tenant: BullMQ's own flag, so that a pause by any tool counts. */
export async function isTenantPaused(redis: Redis, group: string, tenant: string): Promise<boolean> {
  return (await redis.hexists(holdKeys(group, tenant).meta, 'paused')) === 1;
}

/**
 * Sets the flag, without waiting for what is being applied. A second pause keeps who paused first, since when, and why; its own
 * reason is added.
 * @param reason for people, '' where there is none
 */
export async function markPaused(
  redis: Redis,
  group: string,
  tenant: string,
  who: string,
  reason = '',
): Promise<void> {
  const { meta } = holdKeys(group, tenant);
  const [paused, text] = await redis.hmget(meta, 'paused', 'onewriter.pause');
  const first = paused && text ? (JSON.parse(text) as PauseNote) : undefined;
  const own: PauseNote = { who, reason, since: Date.now() };
  const note = first === undefined ? own : addReason(first, own);
  await redis.hset(meta, { paused: 1, 'onewriter.pause': JSON.stringify(note) });
}

/** The first pause, with the reason of a second one where that says more and there is room for both. */
export function addReason(first: PauseNote, { who, reason }: PauseNote): PauseNote {
  if (reason === '' || first.reason.includes(reason)) return first;
  const added = who === first.who ? reason : `${who}: ${reason}`;
  const both = first.reason === '' ? added : `${first.reason}; ${added}`;
  return [...both].length > MAX_REASON_LENGTH ? first : { ...first, reason: both };
}

/**
 * Pauses a tenant; when this resolves nothing is being applied any more and the broker has closed its file, which stays
 * closed until {@link resumeTenant}.
 * @throws OnewriterError TENANT_UNAVAILABLE where the broker does not let go of the file in time; it is paused then, too
 */
export async function pauseTenant(
  redis: Redis,
  group: string,
  tenant: string,
  who: string,
  reason = '',
): Promise<void> {
  await markPaused(redis, group, tenant, who, reason);
  // Held together with the others: the broker closes the file once for all of them.
  await withHeldTenant(
    redis,
    group,
    tenant,
    { name: 'pause', who, reason: 'the broker closes the file', exclusive: false },
    async () => {},
  );
}

/**
 * Ends a person's pause and that of a repeat offender, whose offences are forgotten; no other hold. Then notifies, so that
 * the broker resumes at once if no hold is left.
 */
export async function resumeTenant(redis: Redis, group: string, tenant: string): Promise<void> {
  const keys = groupKeys(group);
  const { meta, holds } = holdKeys(group, tenant);
  // The count first: a broker that begins to lead in between would pause the tenant for it once more.
  await redis.hdel(keys.backOff, tenant);
  if ((await redis.hexists(holds, REPEAT_OFFENDER)) === 1) {
    await redis.eval(REMOVE_HOLD, 2, holds, meta, REPEAT_OFFENDER);
  }
  await redis.hdel(meta, 'paused', 'onewriter.pause');
  await redis.zadd(keys.notifications, 'NX', Date.now(), tenant);
}
