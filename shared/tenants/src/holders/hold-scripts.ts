/*
 * A tenant's holds: who keeps it still, so that no job is fetched and no broker opens its file. They are in the slot of the
 * tenant's queue:
 *
 *   <queue>:holds   hash, hold id to JSON: name, who, reason, exclusive, pauseIfLost, phase, since, expiresAt (ms of Redis'
 *                   clock)
 *   <queue>:meta    onewriter.holds      how many there are; no field where there is none
 *                   onewriter.released   the epoch under which the file was closed; goes with the last hold
 *                   onewriter.unled      names of holders that found no leader, until one has closed the file
 *                   onewriter.pause      JSON: who paused it, why, since when
 *                   paused               BullMQ's own flag. A hold neither sets nor clears it, and is not ended with it
 *
 *                   onewriter.epoch      the queue's owner: the epoch of a leader, a point, the turn of its last reclaim; a
 *                                        holder where none leads writes the epoch alone, and no leader fetches with that
 *
 * Scripts that fetch jobs read the count with the fence (queue-scripts.ts of the broker): a hold costs nothing where there
 * is none. One that ran out counts as absent, because its process died or was stopped; the leader forgets it when it looks
 * (RELEASE_FILE) and writes that down. Where such a hold asked for it (pauseIfLost) the tenant is paused then, because its
 * process may have been in the middle of changing files; not where it had not begun to:
 *
 *   preparing ──the last look before files change (RENEW_HOLD)──▶ changing
 *
 * A hold of an older version has no phase, and counts as changing.
 *
 * The first write of each script is a delete, which Redis allows at its memory limit.
 */

export { ADD_HOLD, RELEASE_FILE, REMOVE_HOLD, RENEW_HOLD } from './lua-scripts.ts';
