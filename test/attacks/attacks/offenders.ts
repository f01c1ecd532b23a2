import { type Attack, pause, type Target } from '../rig.ts';

/* Attacks whose writes have the broker replaced: the tenant is throttled, then paused (ADR 0043). */

/** A change of the lead: the spare broker takes over. */
const REPLACED_MS = 1_000;
/** As often as pauses a tenant: ONEWRITER_OFFENCE_LIMIT. */
const REPLACED_TIMES = 5;
const STALLS = { stallMs: REPLACED_MS, totalStallMs: REPLACED_TIMES * REPLACED_MS };
/**
 * A statement ends after 10 s; from the second offence on its tenant waits for 10, 20 and 40 s, and at the fifth it is held: after
 * 120 s, and the starts of five brokers.
 */
const OFFENDER = { throttledAfterS: 35, heldAfterS: 145 };
const NUMBERS = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c)';
const ENDLESS = `INSERT INTO t(v) ${NUMBERS} SELECT i FROM c WHERE i < 0`;

/** Sends a write again and again, several at a time. */
async function repeat(target: Target, count: number, path: string, sql: string): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async () => {
      while (!target.signal.aborted) {
        await target.ask(`/v1/tenants/${target.tenant}/${path}`, { sql });
        await pause(50);
      }
    }),
  );
}

export const endlessWrite: Attack = {
  name: 'endless-write',
  summary: 'writes that never end',
  ...STALLS,
  offender: OFFENDER,
  run: target => repeat(target, 4, 'query', ENDLESS),
};

export const endlessBacklog: Attack = {
  name: 'endless-backlog',
  summary: 'a backlog of writes that never end, for which no caller waits',
  ...STALLS,
  offender: OFFENDER,
  run: target => repeat(target, 4, 'enqueue', ENDLESS),
};

export const slowWrite: Attack = {
  name: 'slow-write',
  summary: 'writes that take some seconds each, within the deadline of a statement',
  run: target =>
    repeat(
      target,
      4,
      'query',
      `INSERT INTO t(v) SELECT count(*) FROM (${NUMBERS} SELECT i FROM c LIMIT 10000000)`,
    ),
};
