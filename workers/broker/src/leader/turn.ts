/*
 * A command whose answer is lost may be executed long after it was sent: Redis still reads the buffers of a broken connection,
 * and a command behind a wait at the doorbell runs only at the next notification. By then the session has read the active jobs,
 * and holds them. So each reclaim of a queue has a turn: it is noted in the queue, and commands of an older turn change nothing
 * there (queue-scripts.ts).
 */

/** One count for all queues of this process: a queue that is closed and opened again continues with newer turns. */
let last = 0;

/** Returns a turn newer than all before. Turns can be compared within an epoch, which belongs to one process. */
export function nextTurn(): number {
  return ++last;
}

/** The form of a turn in the field `onewriter.epoch` of a queue's `meta`. */
export function turnWord(epoch: number, turn: number): string {
  return `${epoch}.${turn}`;
}
