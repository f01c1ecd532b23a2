import type { SessionParts } from './session-parts.ts';

/** Lets a tenant's reads wait for their share while others write. A write behind them ends the wait: then they go with it. */
export class ReadDelay {
  readonly #parts: Pick<SessionParts, 'tenant' | 'services' | 'held' | 'pump'>;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: Pick<SessionParts, 'tenant' | 'services' | 'held' | 'pump'>) {
    this.#parts = parts;
  }

  /** Whether nothing may begin yet; then the session is pumped again. */
  mustWait(): boolean {
    const { tenant, services, held, pump } = this.#parts;
    if (!held.hasOnlyReads) return false;
    const waitMs = services.readShare.waitMs(tenant, performance.now());
    if (waitMs === 0) return false;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      pump();
    }, waitMs);
    return true;
  }

  /** The session drains: its jobs are requeued. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}
