import { OnewriterError } from '@onewriter/protocol';
import { type Owner, Shares, type Taken } from './shares.ts';

/** Settings of {@link Turns}. */
export interface TurnsOptions {
  /** For messages: "tenants that are created". */
  readonly what: string;
  /** Callers that have a turn, or wait for one. */
  readonly callers: number;
  /** Turns at the same time, and those of one tenant or token. */
  readonly turns: number;
  readonly turnsOfOwner: number;
}

interface Waiting {
  readonly owner: Owner;
  readonly begin: (turn: Taken) => void;
}

/** A place among the callers, whose turn comes. */
export interface Place {
  /** Resolves when its turn begins. @throws OnewriterError ABORTED, with the signal's reason; the place is left then */
  turn(signal?: AbortSignal | undefined): Promise<void>;
  /** Ends the turn, and leaves. Idempotent. */
  leave(): void;
}

/** Turns at heavy work: the longest wait first, but one owner never has all. */
export class Turns {
  readonly #callers: Shares;
  readonly #running: Shares;
  #waiting: Waiting[] = [];

  constructor({ what, callers, turns, turnsOfOwner }: TurnsOptions) {
    this.#callers = new Shares({ what, total: callers });
    this.#running = new Shares({ what, total: turns, share: turnsOfOwner });
  }

  /** @throws OnewriterError RATE_LIMITED */
  enter(owner: Owner): Place {
    const caller = this.#callers.take(owner);
    let turn: Taken | undefined;
    const leave = () => {
      caller.release();
      turn?.release();
      this.#give();
    };
    const wait = async (signal: AbortSignal | undefined) => {
      turn = await this.#wait(owner, signal);
    };
    return { turn: wait, leave };
  }

  #wait(owner: Owner, signal: AbortSignal | undefined): Promise<Taken> {
    return new Promise<Taken>((resolve, reject) => {
      const waiting: Waiting = {
        owner,
        begin: turn => {
          signal?.removeEventListener('abort', stop);
          resolve(turn);
        },
      };
      const stop = () => {
        this.#waiting = this.#waiting.filter(other => other !== waiting);
        reject(signal?.reason ?? new OnewriterError('ABORTED', 'It was stopped before its turn came.'));
      };
      if (signal?.aborted) return stop();
      signal?.addEventListener('abort', stop, { once: true });
      this.#waiting.push(waiting);
      this.#give();
    });
  }

  #give(): void {
    this.#waiting = this.#waiting.filter(({ owner, begin }) => {
      if (!this.#running.hasRoom(owner)) return true;
      begin(this.#running.take(owner));
      return false;
    });
  }
}
