import type { WireOperationResult } from '@onewriter/protocol';
import type { SpanContext } from '@opentelemetry/api';

/** What an answer also says of its write. */
export interface AnsweredWrite {
  readonly receipt: string;
  /** When the replica had it, ms since the epoch; where that was waited for. */
  readonly replicatedAt?: number | undefined;
  /** Its job waits for the replica. */
  readonly waitsForReplica?: boolean | undefined;
}

/** Where the answer goes: exactly one of these is called, once. */
export interface WriteCaller {
  /**
   * @param result undefined where only acceptance was waited for
   * @param write has the receipt, which is made when it is asked for: few ask
   */
  resolve(result: WireOperationResult | undefined, commitSeq: number, write: AnsweredWrite): void;
  reject(error: unknown): void;
}

/** How a caller learned what came of a write. */
export type SettledBy = 'event' | 'ledger';

/** The spans of a write that is traced; they stand between the write and its caller. */
export interface WriteSpans extends WriteCaller {
  /**
   * It is in a job that is sent now.
   * @param companion a write of the same job that the broker's spans are shown with, where they are not with this one
   * @returns its own context
   */
  depart(companion: SpanContext | undefined): SpanContext;
  /** The queue has it. */
  accept(): void;
  /** Its outcome is known. */
  arrive(by: SettledBy): void;
}
