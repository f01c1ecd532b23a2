import { OnewriterError } from '@onewriter/protocol';
import { appendAudit, type Logger } from '@onewriter/runtime';
import {
  describeHolder,
  type HolderName,
  type HoldRecord,
  holdKeys,
  pausesWhenLost,
  RELEASE_FILE,
  toHolder,
} from '@onewriter/tenants';
import { nextTurn, turnWord } from '../leader/turn.ts';
import { defineScript, type RedisLink } from '../queue/redis-link.ts';

/*
 * Tenants that are held: a program works on their file, so this broker has it closed and takes nothing (ADR 0025).
 *
 *                 a take says so, or the release bell rings          file closed, Redis says so
 *   as usual ─────────────────────────────────────────▶ releasing ─────────────────────▶ held
 *      ▲                                                    ▲ │                             │
 *      └──────────────── no hold is left ───────────────────┼─┘                             │
 *                                                           └──────── any bell ◀────────────┘
 *
 * The end of a hold rings. That of a process that died does not: the holds are looked at again when the next runs out.
 *
 * Bells that ring meanwhile come here, so that no session is made behind the back of a release. They have the holds looked at
 * again: the last may have ended, or run out.
 */

/** What {@link HeldTenants} needs of the leader. */
export interface HeldTenantsOptions {
  readonly link: RedisLink;
  readonly group: string;
  readonly log: Logger;
  readonly epoch: () => number;
  /**
   * Finishes what was begun, puts back what was not, closes the file and forgets the session.
   * @param isForPerson a person asked for one of the holds: who looks after the file, whatever happened to it
   */
  readonly close: (tenant: string, isForPerson: boolean) => Promise<void>;
  /** No hold is left. */
  readonly onEnded: (tenant: string) => void;
  /** Called after it, where jobs may wait. */
  readonly onFree: (tenant: string) => void;
  /** Resolves where this process still leads, under a higher epoch; else it ends. */
  readonly onFenced: (tenant: string, error: OnewriterError) => Promise<void>;
  readonly onBug: (error: unknown) => void;
}

interface Held {
  state: 'releasing' | 'held';
  /** The release bell rang since the holds were last looked at. */
  rung: boolean;
  /** It was the tenant's own, which says that jobs wait. */
  hasWork: boolean;
  /** Runs until the next hold runs out. */
  timer: NodeJS.Timeout | undefined;
}

/** Not those that an application's request or the broker adds: a write may come while one makes a tenant. */
const FOR_PERSON: ReadonlySet<string> = new Set<HolderName>(['pause', 'delete', 'restore']);

interface Look {
  readonly isHeld: boolean;
  /** That wait or are active. */
  readonly jobs: number;
  /** Where it is held: until the next hold runs out, unless it is renewed. */
  readonly nextEndMs: number;
}

/** So that it has run out then by Redis' clock, too. */
const AFTER_END_MS = 50;
/** Node's timers take no more. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const releaseFile = defineScript(4, RELEASE_FILE);

/** The tenants of a leader that are held. */
export class HeldTenants {
  readonly #options: HeldTenantsOptions;
  readonly #tenants = new Map<string, Held>();

  constructor(options: HeldTenantsOptions) {
    this.#options = options;
  }

  /** Tenants that are held, as far as this leader knows. */
  get size(): number {
    return this.#tenants.size;
  }

  /** The tenant's bell rang. @returns false where it is not held: the bell is for its session. */
  onRing(tenant: string): boolean {
    const held = this.#tenants.get(tenant);
    if (held === undefined) return false;
    held.hasWork = true;
    // One that is being looked at is not looked at again for each job that comes: the end of a hold rings the release bell.
    if (held.state === 'held') this.#lookAgain(tenant, held);
    return true;
  }

  /** Somebody may hold the tenant, or may have ended the hold. */
  release(tenant: string): void {
    const held = this.#tenants.get(tenant);
    if (held !== undefined) {
      this.#lookAgain(tenant, held);
      return;
    }
    const added: Held = { state: 'held', rung: false, hasWork: false, timer: undefined };
    this.#tenants.set(tenant, added);
    this.#lookAgain(tenant, added);
  }

  #lookAgain(tenant: string, held: Held): void {
    held.rung = true;
    if (held.state === 'held') this.#run(tenant, held).catch(this.#options.onBug);
  }

  async #run(tenant: string, held: Held): Promise<void> {
    const { onEnded, onFree } = this.#options;
    held.state = 'releasing';
    clearTimeout(held.timer);
    let endsInMs = 0;
    while (held.rung) {
      held.rung = false;
      const { isHeld, jobs, nextEndMs } = await this.#look(tenant);
      endsInMs = nextEndMs;
      // A release bell that rang meanwhile may be of a hold that was added since.
      if (isHeld || held.rung) continue;
      this.#tenants.delete(tenant);
      onEnded(tenant);
      if (jobs > 0 || held.hasWork) onFree(tenant);
      return;
    }
    held.state = 'held';
    // One that is renewed meanwhile ends later: then it is looked at again.
    const timer = setTimeout(
      () => this.#lookAgain(tenant, held),
      Math.min(endsInMs + AFTER_END_MS, MAX_TIMER_MS),
    );
    held.timer = timer.unref();
  }

  /** Closes the file and says so, if the tenant is held. */
  async #look(tenant: string): Promise<Look> {
    const { link, group, close } = this.#options;
    const { wait, active, meta, holds } = holdKeys(group, tenant);
    const [isHeld, waiting, begun, records] = await link.insist(() =>
      Promise.all([
        link.call('HEXISTS', meta, 'onewriter.holds'),
        link.call('LLEN', wait),
        link.call('LLEN', active),
        link.call('HVALS', holds),
      ]),
    );
    // A hold that comes after this rings again.
    if (isHeld === 0) return { isHeld: false, jobs: Number(waiting) + Number(begun), nextEndMs: 0 };
    const isForPerson = (records as string[]).some(json =>
      FOR_PERSON.has((JSON.parse(json) as HoldRecord).name),
    );
    await close(tenant, isForPerson);
    return this.#tellReleased(tenant);
  }

  async #tellReleased(tenant: string): Promise<Look> {
    const { link, group, epoch, onFenced } = this.#options;
    const { wait, active, meta, holds, prefix } = holdKeys(group, tenant);
    for (;;) {
      // Executed late, after the tenant was free and opened again, it must not say that its file is closed.
      const [state, count, gone, nextEndMs = 0] = (await link.insist(() =>
        link.run(releaseFile, [wait, active, meta, holds, prefix, turnWord(epoch(), nextTurn())]),
      )) as [number, number, string[], number?];
      if (state >= 0) {
        for (const json of gone) this.#noteLost(tenant, JSON.parse(json) as HoldRecord);
        return { isHeld: state === 1, jobs: count, nextEndMs };
      }
      if (state === -3) continue;
      const message = 'A newer broker has taken over this queue.';
      await onFenced(tenant, new OnewriterError('FENCED', message, { tenant, fileEpoch: count }));
    }
  }

  #noteLost(tenant: string, record: HoldRecord): void {
    const { link, group, log } = this.#options;
    const holder = toHolder(record);
    const paused = pausesWhenLost(record);
    log.warn(
      { tenant, holder, paused },
      `A hold ran out, its process died or was stopped ${paused ? 'while it changed files; the tenant is paused' : 'before it changed a file'}: ${describeHolder(holder)}`,
    );
    void appendAudit(link.redis, group, log, {
      action: 'tenant.hold-lost',
      tenant,
      outcome: paused ? 'paused' : 'resumed',
      subject: record.who,
      token: '',
      requestId: '',
      address: '',
      detail: describeHolder(holder),
    });
  }
}
