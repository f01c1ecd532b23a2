import { type ForgottenWork, Sweep } from '../queue/sweep.ts';
import { Reclaim } from '../recovery/reclaim.ts';
import type { HeldTenants } from '../tenant/held-tenants.ts';
import type { LeaderParts } from './leader-parts.ts';

/**
 * Tenants that wait for memory, or for a lane, before more are reclaimed or swept: enough to keep the lanes busy. More would
 * only cost main-thread time that tenants with notifications need.
 */
const MAX_WAITING_TENANTS = 200;

/** Finds work without a notification: first the active jobs of earlier leaders, whose commits the fence stops; then what a sweep finds. */
export class ReclaimAndSweep {
  readonly #parts: LeaderParts;
  readonly #held: HeldTenants;
  readonly #reclaim: Reclaim;
  readonly #sweep: Sweep;

  constructor(parts: LeaderParts, held: HeldTenants) {
    const { link, config, log } = parts.options;
    this.#parts = parts;
    this.#held = held;
    this.#reclaim = new Reclaim({
      link,
      group: config.group,
      reclaim: tenant => this.#reclaimTenant(tenant),
      untilRoom: () => this.#untilRoom(),
      isOpen: tenant => parts.sessions.has(tenant),
    });
    this.#sweep = new Sweep(link, config.group, log);
  }

  /** Jobs that two sweeps in a row found waiting: jobs of paused tenants. */
  get idleJobs(): number {
    return this.#sweep.idleJobs;
  }

  /** Reclaims once, then sweeps periodically until {@link stop}. */
  async run(): Promise<void> {
    const { options, phase, services, sessions } = this.#parts;
    if (!(await this.#reclaim.run()) || phase.isEnding) return;
    // Also tenants that sent a notification meanwhile.
    const reclaimed = sessions.all.map(session => session.reclaimed).filter(count => count > 0);
    const jobs = reclaimed.reduce((sum, count) => sum + count, 0);
    if (jobs > 0) {
      options.log.info({ jobs, tenants: reclaimed.length }, 'Jobs of the last leader will be redelivered');
    }
    await this.#tryParked();
    // Jobs of a held tenant were not read: their crash counts have to outlast the hold.
    if (this.#held.size === 0) await services.poisoned.forgetUnclaimed();
    await this.#sweep.run(
      options.config.sweepIntervalMs,
      tenant => sessions.find(tenant)?.asleep === false,
      work => this.#onFound(work),
    );
  }

  /** Files that a predecessor found unfit may be mended: people should not be sent to them until their next write. */
  async #tryParked(): Promise<void> {
    const { phase, services, sessions } = this.#parts;
    for (const tenant of services.parked.unopened) {
      await this.#untilRoom();
      if (phase.isEnding) return;
      if (!this.#held.onNotified(tenant)) sessions.of(tenant).tryFile();
    }
  }

  /** Idempotent. */
  stop(): void {
    this.#reclaim.stop();
    this.#sweep.stop();
  }

  async #onFound({ tenant, active }: ForgottenWork): Promise<void> {
    const { phase, services, sessions } = this.#parts;
    await this.#untilRoom();
    if (phase.isEnding || this.#held.onNotified(tenant)) return;
    // A session that is awake knows its active jobs; these are a dead leader's.
    if (active > 0) await sessions.of(tenant).reclaim().catch(services.onBug);
    else sessions.of(tenant).notify();
  }

  async #reclaimTenant(tenant: string): Promise<void> {
    const { phase, sessions } = this.#parts;
    if (phase.isEnding || this.#held.onNotified(tenant)) return;
    const session = sessions.of(tenant);
    // It was notified meanwhile: its first fetch reads the active jobs.
    await session.untilFetched();
    if (!session.ownsQueue) await session.reclaim();
  }

  /** Tenants with work stay in Redis while many wait here, because each costs some kilobytes. */
  async #untilRoom(): Promise<void> {
    const { memory, lanes } = this.#parts.services;
    await memory.untilFewerWait(MAX_WAITING_TENANTS);
    await lanes.untilFewerWait(MAX_WAITING_TENANTS);
  }
}
