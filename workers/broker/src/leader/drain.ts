import { setTimeout as pause } from 'node:timers/promises';
import type { Replica } from '../replica/replica.ts';
import { handOver } from './hand-over.ts';
import type { LeaderParts } from './leader-parts.ts';

/** Parts of the time for a drain: until when the last file may be closed, and how much longer a begun close may take. */
const CLOSE_UNTIL = 0.75;
const CLOSE_GRACE = 0.1;
/** The same with replication: the files are closed, and their logs stored, before the lease is released. */
const CLOSE_BEFORE_SHIPPING = 0.6;
const SHIP_UNTIL = 0.8;
/** Where the store is away: it may answer just now. */
const AWAY_MS = 250;

/**
 * Finishes what was begun, requeues the rest, and releases the lease; then closes the files, which may take longer: nothing is
 * committed to them any more. The leader was stopped before.
 * @param drainMs for all of it: half for begun work, which is left to the successor if it is not finished then; the rest but a
 * fifth for the files.
 * @returns false where a thread is still at work or has files open: a signal has to end the process.
 */
export async function drainLeader(parts: LeaderParts, drainMs: number): Promise<boolean> {
  const startedAt = performance.now();
  const graceMs = drainMs / 2;
  const { lanes, deadLetters } = parts.services;
  const sessions = parts.sessions.all;
  parts.hibernation?.close();
  const drained = Promise.all(sessions.map(session => session.drain()));
  // What waits for a file is requeued.
  parts.services.waker.close().catch(parts.phase.onBug);
  await Promise.race([drained, pause(graceMs)]);
  if (parts.shipping !== undefined) await shipRest(parts, parts.shipping, drainMs, startedAt);
  await handOver(parts, sessions);
  // Not counted against its job, which the next leader runs apart again.
  if (lanes.apart.work !== undefined) await parts.apart.process.kill();
  const stuck = lanes.all.find(lane => lane.work !== undefined)?.work;
  if (stuck !== undefined) {
    parts.options.log.warn(
      { tenant: stuck.client.tenant, graceMs },
      'A statement does not end: its job will be redelivered to the next broker',
    );
    return false;
  }
  const closeMs = Math.max(0, drainMs * CLOSE_UNTIL - (performance.now() - startedAt));
  const atRest = await closeFiles(parts, closeMs, drainMs * CLOSE_GRACE);
  deadLetters.close();
  return atRest;
}

/**
 * Stores what is captured while this process leads: its successor's term makes later packs void. The files are closed before, so that
 * all of their logs is captured; where they are replicated a close leaves the log, and costs little.
 */
async function shipRest(
  parts: LeaderParts,
  shipping: Replica,
  drainMs: number,
  startedAt: number,
): Promise<void> {
  const leftMs = (part: number) => Math.max(0, drainMs * part - (performance.now() - startedAt));
  const { lanes } = parts.services;
  const isStuck = [...lanes.all, lanes.apart].some(lane => lane.work !== undefined);
  if (!isStuck) await closeFiles(parts, leftMs(CLOSE_BEFORE_SHIPPING), drainMs * CLOSE_GRACE);
  await shipping.end(shipping.available ? leftMs(SHIP_UNTIL) : AWAY_MS);
}

/** @returns whether all files were closed; each costs flushes, and thousands can take longer than the drain may. */
async function closeFiles(parts: LeaderParts, withinMs: number, graceMs: number): Promise<boolean> {
  const { log } = parts.options;
  const closing = parts.services.lanes.close(withinMs);
  const late = new AbortController();
  const left = await Promise.race([
    closing,
    // A close that the disk delays for longer ends with the process.
    pause(withinMs + graceMs, undefined, { signal: late.signal }),
  ]).finally(() => late.abort());
  if (left === 0) return true;
  closing.catch(error => log.warn({ err: error }, 'A lane did not close'));
  log.warn(
    { files: left, withinMs: Math.round(withinMs) },
    'Files were not closed in time; the next open writes their flushed logs back',
  );
  return false;
}
