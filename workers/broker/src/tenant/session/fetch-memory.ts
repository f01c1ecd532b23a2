import type { Grant, JobMemory, MemoryWaiter } from '../../lanes/job-memory.ts';
import type { MemoryWish } from './fetch-size.ts';

/** What the session does for it. */
export interface FetchMemoryOptions {
  readonly memory: JobMemory;
  /** See Turns: when it may begin to overtake others. */
  readonly overtakesAt: () => number | undefined;
  /** Memory came: what waited for it asks again now, or does not need it any more. */
  readonly onGranted: () => void;
}

/** Asks for the memory of a tenant's fetches. */
export class FetchMemory implements MemoryWaiter {
  readonly #options: FetchMemoryOptions;
  /** Memory that came and is not used yet. */
  #granted: Grant | undefined;

  constructor(options: FetchMemoryOptions) {
    this.#options = options;
  }

  get overtakesAt(): number | undefined {
    return this.#options.overtakesAt();
  }

  /** @returns undefined where there is none now: {@link FetchMemoryOptions.onGranted} follows */
  request([minimum, desired]: MemoryWish): Grant | undefined {
    const granted = this.#granted;
    this.#granted = undefined;
    if (granted !== undefined && granted.bytes >= minimum) return granted;
    granted?.release();
    return this.#options.memory.request(this, minimum, desired);
  }

  /** As {@link request}, but does not wait. */
  requestNow(wish: MemoryWish): Grant | undefined {
    return this.#options.memory.requestNow(...wish);
  }

  onMemory(grant: Grant): void {
    this.#granted = grant;
    this.#options.onGranted();
    // Its purpose is done, or cannot be done now.
    this.#granted?.release();
    this.#granted = undefined;
  }

  /** Waits no more. Idempotent. */
  cancel(): void {
    this.#options.memory.cancel(this);
  }
}
