import { readLiveClient, type StatusTransaction } from '@onewriter/protocol';
import type { AppliedOutcome } from '@onewriter/writer';
import type { HeldJob } from './held-job.ts';
import type { SessionParts } from './session-parts.ts';
import { limitsOfRedelivered, TransactionLease } from './transaction-lease.ts';

/*
 * The transaction that steps left open on the tenant's connection:
 *
 *            steps left it open                        COMMIT, ROLLBACK
 *   in the thread ──────────────▶ leased ◀──▶ a step in the thread ─────────▶ as usual
 *                                   └── others wait, and its time is over: rolled back ──▶
 */

/** What the session does for it. */
export interface OpenTransactionOptions {
  /** Rolls the transaction back in the thread, before anything that is begun from now on. */
  readonly rollback: (transaction: string) => void;
  /** A transaction was left open. */
  readonly onBegun: () => void;
}

/** At most one transaction is open at a time. */
export class OpenTransaction {
  readonly #parts: SessionParts;
  readonly #options: OpenTransactionOptions;
  #lease: TransactionLease | undefined;

  constructor(parts: SessionParts, options: OpenTransactionOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#lease !== undefined;
  }

  get lease(): TransactionLease | undefined {
    return this.#lease;
  }

  /** As the status shows it. */
  get status(): StatusTransaction | undefined {
    if (this.#lease === undefined) return undefined;
    const { id, client, openedAt, deadlineAt } = this.#lease;
    return { tenant: this.#parts.tenant, id, client, openedAt, deadlineAt };
  }

  /** Whether others wait for its end. */
  get othersWait(): boolean {
    return this.#lease?.othersWait === true;
  }

  /** A batch was applied: one was open before it, or is now. */
  note({ open, jobs }: AppliedOutcome, batch: readonly HeldJob[]): void {
    if (open === undefined) this.end();
    else if (this.#lease?.id !== open) {
      this.end();
      this.#begin(open, jobs[0]?.client ?? '', batch);
    } else if (this.#lease.expired) this.#takeAway(this.#lease);
    else if (continues(batch[0], open)) this.#lease.touch();
  }

  #begin(id: string, client: string, batch: readonly HeldJob[]): void {
    const { services, held, facts, isDraining } = this.#parts;
    const isLive = readLiveClient(batch[0]?.data ?? '') === client;
    const { transactionLimits } = services;
    const lease = new TransactionLease(
      id,
      client,
      batch[0]?.doubtful ? limitsOfRedelivered(transactionLimits) : transactionLimits,
      () => this.#onExpired(),
      isLive ? () => this.#lookForHolder(lease).catch(services.onBug) : undefined,
    );
    this.#lease = lease;
    held.beginTransaction();
    lease.noteOthers(facts.mayHaveMore || held.ready.length > 0);
    this.#options.onBegun();
    if (isDraining()) lease.close();
  }

  noteOthers(wait: boolean): void {
    this.#lease?.noteOthers(wait);
  }

  /** It is rolled back when the tenant is closed; nothing is timed any more. */
  drain(): void {
    this.#lease?.close();
  }

  /** It is over, or its connection is gone. Idempotent. */
  end(): void {
    if (this.#lease === undefined) return;
    this.#lease.close();
    this.#lease = undefined;
    this.#parts.held.endTransaction();
    this.#parts.facts.mayHaveMore = true;
  }

  #onExpired(): void {
    // A step that is in the thread is finished first: its outcome comes here.
    if (this.#lease === undefined || this.#parts.held.inThread.length > 0) return;
    this.#takeAway(this.#lease);
    this.#parts.pump();
  }

  /** Others wait: ends the transaction if its client is gone. */
  async #lookForHolder(lease: TransactionLease): Promise<void> {
    const { tenant, services, held } = this.#parts;
    if (await services.presence.isHere(lease.client)) return;
    // A step that arrived meanwhile shows that the client is alive.
    if (this.#lease !== lease || held.inThread.length > 0 || held.followUps.length > 0) return;
    services.log.info(
      { tenant, transaction: lease.id, client: lease.client },
      'The client of an interactive transaction is gone',
    );
    this.#takeAway(lease);
    this.#parts.pump();
  }

  #takeAway(lease: TransactionLease): void {
    const { tenant, services } = this.#parts;
    services.log.warn(
      { tenant, transaction: lease.id, client: lease.client, ageMs: Math.round(lease.ageMs) },
      lease.othersWait
        ? 'An interactive transaction was open for too long while others waited; rolling it back'
        : 'An interactive transaction was open for too long; rolling it back',
    );
    services.metrics.transactionTakenAway();
    this.#options.rollback(lease.id);
    this.end();
  }
}

/** Whether the steps of a job name the transaction; a caller's values have no such quotes in JSON. */
function continues(job: HeldJob | undefined, transaction: string): boolean {
  return job?.data?.includes(`"tx":"${transaction}"`) === true;
}
