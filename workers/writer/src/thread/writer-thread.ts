import { parentPort, workerData } from 'node:worker_threads';
import { nameThread } from '@onewriter/protocol';
import { assertSqliteWorks } from '../file/assert-sqlite-works.ts';
import type { LaneOutcome, LaneTask } from './lane-task.ts';
import { takeOptions, type WriterThreadData } from './thread-data.ts';
import { WriterLane } from './writer-lane.ts';

// The entry file of the broker's thread pool. piscina passes its option `workerData` on as Node's own.
let lane: WriterLane | undefined;
process.once('exit', () => lane?.close());

nameThread('writer');

// The first database of a thread takes a while to open: it is opened before a tenant waits for it.
assertSqliteWorks();

/** Runs one task; the pool posts its result. */
export default function runTask(task: LaneTask): LaneOutcome {
  lane ??= new WriterLane(takeOptions(workerData as WriterThreadData));
  return lane.run(task, itemOutcome => parentPort!.postMessage(itemOutcome));
}
