import type { Logger } from '@onewriter/runtime';
import type { Lane, LaneWork } from '../lane.ts';
import { MemoryWatch } from '../memory-watch.ts';
import { Watchdog } from '../watchdog.ts';
import { LaneProcess } from './lane-process.ts';

/** What the process has without a statement: two heaps, the stacks of its threads, a page cache. */
const BASE_BYTES = 384 * 1_024 * 1_024;
/** The kernel's limit is for growth between two looks; the watch ends the process before. */
const LIMITS_OF_KERNEL = 2;
/** A job that grew its process by this part of the limit had a share in what was found. As in the memory watch. */
const PART_OF_SHARE = 4;

/** Why a write was stopped. */
export type ApartFinding =
  | { readonly kind: 'memory'; readonly grownBytes: number; readonly limitBytes: number }
  | { readonly kind: 'time'; readonly ranMs: number };

/** Settings of {@link Apart}. */
export interface ApartOptions {
  /** How much the process may grow during one write. */
  readonly limitBytes: number;
  readonly statementTimeoutMs: number;
  /** A write is over a limit; its process is being ended. */
  readonly onStopped: (work: LaneWork, jobId: string, op: number, finding: ApartFinding) => void;
  /** A batch was applied or refused. @param isCostly it took a good part of the memory that a write may take */
  readonly onApplied: (tenant: string, isCostly: boolean) => void;
  readonly log: Logger;
}

/** The process for jobs that may end their process: watches it, and ends it alone where a write takes too much. ADR 0047. */
export class Apart {
  readonly process: LaneProcess;
  readonly #options: ApartOptions;
  #lane: Lane | undefined;
  #memory: MemoryWatch | undefined;
  #watchdog: Watchdog | undefined;

  constructor(options: ApartOptions) {
    this.#options = options;
    const { limitBytes, log } = options;
    this.process = new LaneProcess({
      memoryBytes: BASE_BYTES + LIMITS_OF_KERNEL * limitBytes,
      log,
      onRunning: () => this.#watch(),
      onEnd: () => this.close(),
      onApplied: (tenant, grownBytes) => options.onApplied(tenant, grownBytes >= limitBytes / PART_OF_SHARE),
    });
  }

  /** @param lane whose tasks the process runs */
  attach(lane: Lane): void {
    this.#lane = lane;
  }

  /** Looks no more. Idempotent. */
  close(): void {
    this.#memory?.close();
    this.#watchdog?.close();
  }

  #watch(): void {
    const lanes = this.#lane === undefined ? [] : [this.#lane];
    const { limitBytes, statementTimeoutMs } = this.#options;
    this.close();
    this.#memory = new MemoryWatch(
      () => lanes,
      limitBytes,
      finding => {
        const write = finding.kind === 'one' ? finding.write : finding.writes[0];
        if (write === undefined) return;
        const { work, jobId, op, grownBytes } = write;
        this.#stop(work, jobId, op, { kind: 'memory', grownBytes, limitBytes });
      },
      () => this.process.statementBytes,
    );
    this.#watchdog = new Watchdog(
      () => lanes,
      () => statementTimeoutMs,
      ({ work, jobId, op, ranMs }) => this.#stop(work, jobId, op, { kind: 'time', ranMs }),
    );
  }

  #stop(work: LaneWork, jobId: string, op: number, finding: ApartFinding): void {
    this.close();
    // Its verdict is known before the end of the process is.
    this.#options.onStopped(work, jobId, op, finding);
    void this.process.kill();
  }
}
