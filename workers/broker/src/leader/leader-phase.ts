import { explainReply } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { StateMachine, type Transitions } from '@onewriter/tenants';

/**
 * Where a process is on its way through its lead:
 *
 *   preparing ──────▶ leading ──────── drained, replaced ────────▶ stopped
 *       └──────┬─────────┘                                             ▲
 *              └── fenced, internal error ──▶ ending ──────────────────┘
 *
 * - `preparing`: reads what the last leader left in Redis and in the data directory; begins nothing.
 * - `leading`: listens, reclaims, sweeps, and serves.
 * - `ending`: it asked for the end of its process, which stops it.
 * - `stopped`: begins nothing more; what was begun may still be finished and handed over. A drain stops it in each phase.
 */
export type Phase = 'preparing' | 'leading' | 'ending' | 'stopped';

const TRANSITIONS: Transitions<Phase> = {
  preparing: ['leading', 'ending', 'stopped'],
  leading: ['ending', 'stopped'],
  ending: ['stopped'],
  stopped: [],
};

/** The phase of one leader, and the reasons to end it. */
export class LeaderPhase {
  readonly #phase = new StateMachine<Phase>('The leader', TRANSITIONS, 'preparing');
  readonly #onEnd: (reason: string) => void;
  readonly #log: Logger;

  /** @param onEnd called at most once, where the leader itself asks for the end of its process */
  constructor(onEnd: (reason: string) => void, log: Logger) {
    this.#onEnd = onEnd;
    this.#log = log;
  }

  get current(): Phase {
    return this.#phase.state;
  }

  /** Whether it leads no more, or soon. */
  get isEnding(): boolean {
    return this.#phase.is('ending') || this.#phase.is('stopped');
  }

  /** It is prepared. @throws AssertionError where it leads already, or is ending */
  lead(): void {
    this.#phase.enter('leading');
  }

  /** Asks for the end of the process, once. Its jobs are delivered to its successor. */
  end(reason: string): void {
    if (this.isEnding) return;
    this.#phase.enter('ending');
    this.#onEnd(reason);
  }

  /** An internal error, or a refusal by Redis: logs it and asks for the end of the process. */
  readonly onBug = (error: unknown): void => {
    if (this.isEnding) return;
    const refused = explainReply(error);
    if (refused !== undefined) {
      this.#log.fatal({ code: refused.code }, refused.message);
      this.end('Redis refuses what a leader needs');
      return;
    }
    this.#log.fatal({ err: error }, 'Internal error; exiting. Unfinished jobs will be redelivered');
    this.end('internal error');
  };

  /** @returns false where it was stopped before */
  stop(): boolean {
    if (this.#phase.is('stopped')) return false;
    this.#phase.enter('stopped');
    return true;
  }
}
