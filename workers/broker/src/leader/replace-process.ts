import { setTimeout as pause } from 'node:timers/promises';
import { REPLACED_SIGNAL } from '@onewriter/protocol';
import type { LaneWork } from '../lanes/lane.ts';
import { removeRunningNotes } from '../recovery/running-notes.ts';
import { handOver } from './hand-over.ts';
import type { LeaderParts } from './leader-parts.ts';

/**
 * How long the other tenants' batches may take when the process is replaced because of one: all writes wait for it. What runs for longer
 * is redelivered; often it is one more hostile statement.
 */
const DRAIN_MS = 250;
/** For all that is done before the process ends. */
const REPLACE_GRACE_MS = 1_000;
/** Of that, after the batches, for storing what was captured: the commits that were not are still in the logs. */
const SHIP_MS = 400;
const NOTE_TIMEOUT_MS = 2_000;

/** Each resolves when there is no more time for its part. */
export interface TooLate {
  readonly toNote: Promise<void>;
  readonly toHandOver: Promise<void>;
}

/** Settings of {@link replaceProcess}. */
export interface Replacement {
  readonly parts: LeaderParts;
  /** Stops the leader. */
  readonly stop: () => void;
  /** The work of the threads whose statements are to blame. */
  readonly works: readonly LaneWork[];
  /** Notes the statements for the successor. */
  readonly note: () => Promise<unknown>;
  readonly tooLate?: TooLate | undefined;
}

/** Ends the process because of the statements in some threads; all other work is handed over first. */
export async function replaceProcess(replacement: Replacement): Promise<void> {
  const { parts, stop, works, tooLate } = replacement;
  const { config, log } = parts.options;
  const noted = await noteInTime(replacement);
  // Without the note the successor would run the statement again, and note it then.
  if (!noted)
    log.error(
      { tenants: works.map(({ client }) => client.tenant) },
      'Redis did not accept the note about the statement',
    );
  if (parts.phase.isEnding) return;
  stop();
  // What runs apart may take long; its process ends with this one.
  const held = new Set<unknown>(
    works.map(({ client }) => client).concat(parts.services.lanes.apart.work?.client ?? []),
  );
  const sessions = parts.sessions.all;
  const others = sessions.filter(session => !held.has(session));
  await Promise.race([
    Promise.race([Promise.all(others.map(session => session.drain())), pause(DRAIN_MS)])
      .then(() => parts.shipping?.end(SHIP_MS))
      .then(() => handOver(parts, sessions)),
    pause(REPLACE_GRACE_MS),
    ...(tooLate ? [tooLate.toHandOver] : []),
  ]).catch(failure => log.warn({ err: failure }, 'Handing over failed; the lease will expire'));
  // The jobs to blame are known: no other may count as one that ended its process.
  if (noted) removeRunningNotes(config.dataDir);
  // process.exit() would wait for the thread. A special signal: it is no crash, and supervisors need not wait.
  process.kill(process.pid, REPLACED_SIGNAL);
}

/** @returns whether Redis has the note */
function noteInTime({ note, tooLate }: Replacement): Promise<boolean> {
  const late = Promise.race([pause(NOTE_TIMEOUT_MS), ...(tooLate ? [tooLate.toNote] : [])]);
  return Promise.race([note().then(() => true), late.then(() => false)]).catch(() => false);
}
