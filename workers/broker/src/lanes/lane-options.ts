import type { WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { WriterOptions } from '@onewriter/writer';
import type { CaptureLink } from '../replica/capture-link.ts';
import type { LaneRunner } from './lane-thread.ts';
import type { WalFlusher } from './wal-flusher.ts';

/** Settings of a lane. */
export interface LaneOptions {
  readonly writer: Omit<WriterOptions, 'progress'>;
  readonly flusher: WalFlusher;
  /** Tenants whose file or log failed since a batch of theirs was last applied. All lanes share it: a tenant may move. */
  readonly distrusted: Set<string>;
  /** Asked before each task. */
  readonly mayBegin: () => boolean;
  /** Called when the thread has nothing to do. */
  readonly onIdle: () => void;
  /** Called where closing a connection finds that its file changed. */
  readonly onChanged: (tenant: string, finding: WireError) => void;
  /** Called if no thread stays up: the lane would never run a task. */
  readonly onBroken: (error: Error) => void;
  readonly log: Logger;
  /** Entry file of the thread; default: the writer. */
  readonly threadUrl?: URL | undefined;
  /** Runs its tasks: a thread that was started before, or a process; default: a new thread. */
  readonly runner?: LaneRunner | undefined;
  /** Batches that go to the thread at a time, at most; default: 16. With 1 each commit flushes itself. */
  readonly maxGroup?: number | undefined;
  /** Connects its thread with the replicator; undefined: nothing is replicated. */
  readonly capture?: CaptureLink | undefined;
  /** A tenant's file is closed after its batch, before the next one begins; default: false. */
  readonly closesAfterBatch?: boolean | undefined;
}
