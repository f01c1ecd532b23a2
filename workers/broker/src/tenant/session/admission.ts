import {
  isFollowUpJobId,
  isStepsJobId,
  OnewriterError,
  PROTOCOL_VERSION,
  readLiveClient,
  toWireError,
  type WireError,
} from '@onewriter/protocol';
import type { ReplicaAnswers } from '../../replica/replica-answers.ts';
import { type HeldJob, hasUnawaitedWrite } from './held-job.ts';
import type { SessionParts } from './session-parts.ts';

/*
 * Some jobs must not begin, although they are the oldest:
 *
 * - A job of a protocol version that this broker does not know stays at the front, and later jobs wait behind it, until a broker
 *   leads that knows the version. Callers behind it are answered at once: their writes are not applied.
 * - A job whose caller waits for the replica is refused where its store is away; so are those behind it.
 * - A job that may leave a transaction open does not begin for a client that is gone: the client is looked for first.
 */

/** A client that sent a job, or was seen, this short a time ago is not looked for. */
const CLIENT_SEEN_MS = 1_000;

/** Whether a job may leave a transaction open for a client that has to be there; then the client to look for. */
export function clientToLookFor({
  id,
  data,
  enqueuedAt,
  doubtful,
  clientSeenAt,
}: HeldJob): string | undefined {
  // One that may be committed is looked up in the ledger.
  if (!isStepsJobId(id) || isFollowUpJobId(id) || doubtful) return undefined;
  if (clientSeenAt !== undefined && performance.now() - clientSeenAt < CLIENT_SEEN_MS) return undefined;
  const ageMs = enqueuedAt === undefined ? Number.NaN : Date.now() - enqueuedAt;
  if (ageMs >= 0 && ageMs < CLIENT_SEEN_MS) return undefined;
  return data === undefined ? undefined : readLiveClient(data);
}

/** Whether a job is refused where it cannot wait for the replica: a caller waits for it, and nothing of it is committed. */
export function isRefusable(
  replica: Pick<ReplicaAnswers, 'concerns'>,
  tenant: string,
  job: HeldJob,
): boolean {
  return (
    replica.concerns(tenant, job.id) && !job.doubtful && !isFollowUpJobId(job.id) && !hasUnawaitedWrite(job)
  );
}

/** Decides whether the oldest job may begin. */
export class Admission {
  readonly #parts: SessionParts;
  readonly #fail: (jobs: readonly HeldJob[], error: WireError) => Promise<void>;
  /** The `place` up to which callers behind a job of an unknown version were answered. */
  #answeredBehindPlace = 0;

  /** @param fail fails jobs of which nothing is committed */
  constructor(parts: SessionParts, fail: (jobs: readonly HeldJob[], error: WireError) => Promise<void>) {
    this.#parts = parts;
    this.#fail = fail;
  }

  /** Whether the oldest job must not begin, or not yet; starts what is to happen then. */
  mustWait(next: HeldJob): boolean {
    if (next.unknownVersion !== undefined) {
      this.#waitForNewerBroker(next.unknownVersion);
      return true;
    }
    const refused = this.#withoutReplica();
    if (refused !== undefined) {
      // Some that could not be failed, because their locks ran out, are reclaimed first, which waits until none is being failed.
      if (!this.#parts.facts.isStale) {
        this.#fail(refused.jobs, refused.error).catch(this.#parts.services.onBug);
      }
      return true;
    }
    const client = clientToLookFor(next);
    if (client === undefined) return false;
    this.#parts.decide(() => this.#lookForClient(next, client)).catch(this.#parts.services.onBug);
    return true;
  }

  /**
   * Ready jobs that cannot wait for the replica, of which nothing is committed. Those of which no caller waits are applied: their
   * receipts say that they are not replicated.
   */
  #withoutReplica(): { readonly jobs: readonly HeldJob[]; readonly error: WireError } | undefined {
    const { tenant, services, held } = this.#parts;
    const { replica } = services;
    if (!replica.refuses(tenant)) return undefined;
    const jobs = held.loadedFirst.filter(job => isRefusable(replica, tenant, job));
    return jobs.length === 0 ? undefined : { jobs, error: toWireError(replica.refusal(tenant)) };
  }

  /** The job can neither be applied nor refused here: this broker cannot read it, so it cannot know whether a caller waits. */
  #waitForNewerBroker(version: number): void {
    const { tenant, services, held, refusals } = this.#parts;
    const what = `A job of protocol version ${version} is the oldest, and this broker knows version ${PROTOCOL_VERSION}: it and the jobs behind it stay queued for a broker that knows it.`;
    if (!refusals.isParked) services.metrics.refused('UNSUPPORTED_VERSION');
    // As for a parked tenant, more jobs are held: callers wait for some of them.
    refusals.park();
    services.parked.park(tenant, { code: 'UNSUPPORTED_VERSION', message: what });
    const behind = held.ready.filter(
      job =>
        job.place > this.#answeredBehindPlace &&
        job.unknownVersion === undefined &&
        !job.doubtful &&
        !hasUnawaitedWrite(job),
    );
    this.#answeredBehindPlace = held.lastPlace;
    held.unload();
    if (behind.length === 0) return;
    const details = { tenant, reason: 'a job of an unknown protocol version is before it' };
    const error = toWireError(new OnewriterError('TENANT_UNAVAILABLE', what, details));
    this.#fail(behind, error).catch(services.onBug);
  }

  async #lookForClient(job: HeldJob, client: string): Promise<void> {
    const { tenant, services, held } = this.#parts;
    const isHere = await services.presence.isHere(client);
    // Otherwise it was requeued meanwhile.
    if (held.ready[0]?.id !== job.id) return;
    if (isHere) {
      const clientSeenAt = performance.now();
      held.update(ready => (ready.id === job.id ? { ...ready, clientSeenAt } : ready));
      return;
    }
    services.log.info({ tenant, job: job.id, client }, 'Transaction not begun: its client is gone');
    const message = 'The client was gone when its transaction could begin; nothing was run.';
    const error = toWireError(new OnewriterError('TRANSACTION_BUSY', message, { tenant }));
    await this.#fail([job], error);
  }
}
