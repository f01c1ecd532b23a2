/*
 * A transaction that its client leaves open holds the tenant's writer. It is taken away
 *
 *   when others wait and it is `timeoutMs` old, or its client was silent for `idleMs`;
 *   when others wait and its client is gone (looked for once a second);
 *   in any case when it is `maxMs` old.
 *
 * A step that is in the thread at that moment is finished first.
 *
 * Where the job that began it was redelivered, its client may have had the answer of the first delivery, and know nothing of this
 * transaction: until a step continues it, `idleMs` is short.
 */

/** When an open transaction is taken away, in milliseconds. */
export interface TransactionLimits {
  readonly timeoutMs: number;
  readonly idleMs: number;
  readonly maxMs: number;
  /** How long its client may be silent until it continues the transaction; default: `idleMs`. */
  readonly firstIdleMs?: number | undefined;
}

/** Longer than the next step of a client that waits for this answer takes on a busy machine. */
const REDELIVERED_IDLE_MS = 1_000;

/** The limits of a transaction that a redelivered job begins. */
export function limitsOfRedelivered(limits: TransactionLimits): TransactionLimits {
  return { ...limits, firstIdleMs: Math.min(limits.idleMs, REDELIVERED_IDLE_MS) };
}

const LOOK_EVERY_MS = 1_000;

/** A session's record of the transaction that is open on the tenant's connection. */
export class TransactionLease {
  readonly id: string;
  /** The client that has it. */
  readonly client: string;
  /** ms since the epoch. */
  readonly openedAt = Date.now();
  readonly #limits: TransactionLimits;
  readonly #onExpired: () => void;
  readonly #onLook: (() => void) | undefined;
  #look: NodeJS.Timeout | undefined;
  readonly #begunAt = performance.now();
  #touchedAt = this.#begunAt;
  #idleMs: number;
  #othersWait = false;
  #expired = false;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param onExpired called when it is to be taken away; once.
   * @param onLook called now and then while others wait, to look for its client; undefined where it cannot be looked for.
   */
  constructor(
    id: string,
    client: string,
    limits: TransactionLimits,
    onExpired: () => void,
    onLook: (() => void) | undefined,
  ) {
    this.id = id;
    this.client = client;
    this.#limits = limits;
    this.#idleMs = limits.firstIdleMs ?? limits.idleMs;
    this.#onExpired = onExpired;
    this.#onLook = onLook;
    this.#arm();
  }

  /** Whether it is to be taken away as soon as the thread is free of it. */
  get expired(): boolean {
    return this.#expired;
  }

  /** Whether others wait, as last reported. */
  get othersWait(): boolean {
    return this.#othersWait;
  }

  /** How old it is, ms. */
  get ageMs(): number {
    return performance.now() - this.#begunAt;
  }

  /** When it may be taken away if its client is heard from now: ms since the epoch. */
  get expiresAt(): number {
    return Math.round(Date.now() + Math.min(this.#limits.timeoutMs - this.ageMs, this.#limits.idleMs));
  }

  /** When it may be taken away: ms since the epoch. */
  get deadlineAt(): number {
    const due = Math.min(this.#begunAt + this.#limits.timeoutMs, this.#touchedAt + this.#idleMs);
    return Math.round(Date.now() + due - performance.now());
  }

  /** Its client has continued it. */
  touch(): void {
    this.#touchedAt = performance.now();
    this.#idleMs = this.#limits.idleMs;
    this.#arm();
  }

  noteOthers(wait: boolean): void {
    if (wait === this.#othersWait) return;
    this.#othersWait = wait;
    this.#arm();
    clearTimeout(this.#look);
    if (wait) this.#lookLater();
  }

  /** It is over. Idempotent. */
  close(): void {
    this.#expired = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#look);
  }

  #lookLater(): void {
    const look = this.#onLook;
    if (look === undefined || this.#expired) return;
    this.#look = setTimeout(() => {
      look();
      this.#lookLater();
    }, LOOK_EVERY_MS);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#expired) return;
    const { timeoutMs, maxMs } = this.#limits;
    const end = this.#begunAt + maxMs;
    const idleEnd = this.#touchedAt + this.#idleMs;
    const due = this.#othersWait ? Math.min(this.#begunAt + timeoutMs, idleEnd, end) : end;
    this.#timer = setTimeout(
      () => {
        this.#expired = true;
        this.#onExpired();
      },
      Math.max(due - performance.now(), 0),
    );
  }
}

/** When a transaction that begins now may be taken away: ms since the epoch. */
export function firstExpiry({ timeoutMs, idleMs, firstIdleMs = idleMs }: TransactionLimits): number {
  return Date.now() + Math.min(timeoutMs, firstIdleMs);
}
