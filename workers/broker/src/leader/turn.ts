/*
 * A command whose answer is lost may be executed long after it was sent: what is in the buffers of a connection that broke
 * is still read by Redis, and behind a wait at the doorbell it comes when the bell rings. By then the session has read what
 * is active, and holds jobs by it. So each adoption of a queue has a turn: it is noted in the queue, and commands of an
 * older turn change nothing there (queue-scripts.ts).
 */

/** One count for all queues of this process: a queue that is closed and opened again goes on with newer turns. */
let last = 0;

/** A turn that is newer than all before. Within an epoch, which one process has, turns can be compared. */
export function nextTurn(): number {
  return ++last;
}

/** How a turn is noted in the field `onewriter.epoch` of a queue's `meta`. */
export function turnWord(epoch: number, turn: number): string {
  return `${epoch}.${turn}`;
}
