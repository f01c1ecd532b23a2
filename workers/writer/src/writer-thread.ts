import { parentPort, workerData } from 'node:worker_threads';
import type { LaneOutcome, LaneTask, WriterOptions } from './lane-task.ts';
import { WriterLane } from './writer-lane.ts';

// The file that the broker's thread pool loads. piscina hands its option `workerData` on as Node's own.
const lane = new WriterLane(workerData as WriterOptions);
process.once('exit', () => lane.close());

/** Runs one task; the pool posts what it returns. */
export default function runTask(task: LaneTask): LaneOutcome {
  return lane.run(task, itemOutcome => parentPort!.postMessage(itemOutcome));
}
