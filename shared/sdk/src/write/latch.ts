import { onAbort } from '@onewriter/protocol';

/** Opens once, and wakes the one who waits. An AbortController would do, at many times the cost. */
export class Latch {
  #isOpen = false;
  #wake: (() => void) | undefined;

  get isOpen(): boolean {
    return this.#isOpen;
  }

  open(): void {
    this.#isOpen = true;
    this.#wake?.();
  }

  /** Resolves when it opens, after `ms` where it is open already, or when the signal fires. One at a time. */
  wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const wasOpen = this.#isOpen;
    return new Promise(resolve => {
      if (signal?.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        endWatch?.();
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      const endWatch = signal && onAbort(signal, done);
      if (!wasOpen) this.#wake = done;
    });
  }
}
