import { groupKeys } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { Logger } from './logger.ts';

/*
 * What people with access `admin` did, in a stream of the group, whichever process they did it through.
 */

/** One action of an admin, or an attempt at one. */
export interface AuditEntry {
  /** Entry id in the stream in Redis; rises. */
  readonly id: string;
  /** ISO time. */
  readonly at: string;
  readonly action: string;
  /** '' where it is about no single tenant. */
  readonly tenant: string;
  /** `ok`, or the code of the error. */
  readonly outcome: string;
  /** The token's `sub`; '' where it has none. */
  readonly subject: string;
  /** The token's id, which reveals nothing about the token. */
  readonly token: string;
  readonly requestId: string;
  readonly address: string;
  /** What the action's name does not say, for people. */
  readonly detail?: string | undefined;
}

/** Entries that are kept in Redis, about; the log of the process has them all. */
const MAX_ENTRIES = 10_000;
const MAX_DETAIL_LENGTH = 500;

/** Writes an entry to the log and to the group's stream. Never throws: the log has it if Redis does not accept it. */
export async function appendAudit(
  redis: Redis,
  group: string,
  log: Logger,
  entry: Omit<AuditEntry, 'id' | 'at'>,
): Promise<void> {
  const { detail, ...rest } = entry;
  const fields = {
    at: new Date().toISOString(),
    ...rest,
    ...(detail === undefined ? {} : { detail: detail.slice(0, MAX_DETAIL_LENGTH) }),
  };
  log.info(
    { audit: true, ...fields },
    `Admin: ${[entry.action, entry.tenant].join(' ').trim()}: ${entry.outcome}`,
  );
  try {
    const { audit } = groupKeys(group);
    await redis.xadd(audit, 'MAXLEN', '~', MAX_ENTRIES, '*', ...Object.entries(fields).flat());
  } catch (error) {
    log.warn({ err: error }, 'The audit entry is only in this log: Redis did not accept it');
  }
}

/** Entries of the group's stream, the newest first. @param before an entry's id: only older ones. */
export async function readAudit(
  redis: Redis,
  group: string,
  limit: number,
  before?: string | undefined,
): Promise<AuditEntry[]> {
  const { audit } = groupKeys(group);
  const from = before === undefined ? '+' : `(${before}`;
  const entries = await redis.xrevrange(audit, from, '-', 'COUNT', limit);
  return entries.map(([id, fields]) => {
    const entry: Record<string, string> = {};
    for (let index = 0; index + 1 < fields.length; index += 2) entry[fields[index]!] = fields[index + 1]!;
    return { id, ...entry } as unknown as AuditEntry;
  });
}
