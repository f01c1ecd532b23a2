import type { ConnectTask } from '@onewriter/writer';

/** One end of a connection between a writer thread and the replicator. */
export type CaptureConnection = Pick<ConnectTask, 'port' | 'room' | 'spool'>;

/** Connects writer threads with the replicator. */
export interface CaptureLink {
  /** A new connection, for one thread. */
  open(): CaptureConnection;
  /** Calls where the replicator was started again: each thread needs another connection. @returns removes the listener */
  onRestart(listener: () => void): () => void;
}
