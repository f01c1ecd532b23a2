import { currentThreadId, threadCpuMs } from '../bodies/thread-cpu.ts';

/** A statement that takes longer is not quick, whatever its plan. */
const MAX_MS = 20;
/** So long the read processes run all statements of its tenant. */
const SLOW_FOR_MS = 10 * 60_000;
const THREAD = currentThreadId();

/**
 * Whether a tenant's quick statements take long all the same. Judged by CPU time: on a busy machine any of them is late now and then, and
 * its tenant would have to share the read processes with those who keep the machine busy. Asking for that time costs as much as a quick
 * statement, so it is asked for from the first late one on.
 */
export class Slowness {
  readonly #readCpuMs: () => number | undefined;
  /** On the monotonic clock, ms. */
  #until = 0;
  #isSuspected = false;

  /** @param readCpuMs CPU time of this thread; undefined where the system does not say */
  constructor(readCpuMs: () => number | undefined = ownCpuMs) {
    this.#readCpuMs = readCpuMs;
  }

  get isSlow(): boolean {
    return performance.now() < this.#until;
  }

  /** Runs a statement, and judges by what that took. */
  measure<Result>(run: () => Result): Result {
    const cpuMs = this.#isSuspected ? this.#readCpuMs() : undefined;
    const begunAt = performance.now();
    const result = run();
    const endedAt = performance.now();
    if (endedAt - begunAt <= MAX_MS) this.#isSuspected = false;
    else this.#judge(endedAt, cpuMs);
    return result;
  }

  /** @param cpuMs before the statement, where it was asked for */
  #judge(endedAt: number, cpuMs: number | undefined): void {
    const nowMs = this.#readCpuMs();
    if (nowMs === undefined || (cpuMs !== undefined && nowMs - cpuMs > MAX_MS))
      this.#until = endedAt + SLOW_FOR_MS;
    this.#isSuspected = true;
  }
}

function ownCpuMs(): number | undefined {
  return THREAD === undefined ? undefined : threadCpuMs(THREAD);
}
