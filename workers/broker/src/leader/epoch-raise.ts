import { readFormerIdentity, SECOND_REDIS_REMEDY, type WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { LeaderPhase } from './leader-phase.ts';
import type { Lease, Raised } from './lease.ts';

/** A file or a queue has seen a newer epoch than this leader's: raises the leader's above it, or ends the lead. */
export class EpochRaise {
  readonly #lease: Pick<Lease, 'epoch' | 'held' | 'raise' | 'contest'>;
  readonly #phase: Pick<LeaderPhase, 'end'>;
  readonly #dataDir: string;
  readonly #log: Logger;
  #raising: Promise<Raised> | undefined;

  constructor(
    lease: Pick<Lease, 'epoch' | 'held' | 'raise' | 'contest'>,
    phase: Pick<LeaderPhase, 'end'>,
    dataDir: string,
    log: Logger,
  ) {
    this.#lease = lease;
    this.#phase = phase;
    this.#dataDir = dataDir;
    this.#log = log;
  }

  /**
   * Tenants that are fenced at the same time share one raise.
   * @param error FENCED, with `fileEpoch`
   * @returns a promise that resolves where this process still leads, under a higher epoch; else it ends
   */
  async onFenced(tenant: string, error: WireError): Promise<void> {
    const lease = this.#lease;
    const fileEpoch = Number(error.details?.['fileEpoch'] ?? 0);
    if (fileEpoch < lease.epoch && lease.held) return; // raised meanwhile, for another tenant
    this.#raising ??= lease.raise(fileEpoch).finally(() => {
      this.#raising = undefined;
    });
    const raised = await this.#raising;
    const facts = { tenant, fileEpoch, epoch: lease.epoch };
    if (raised === 'raised') {
      // A folder that was made from a replica has files with the epochs of the machine before.
      if (readFormerIdentity(this.#dataDir) !== undefined)
        this.#log.info(facts, 'Epoch raised above that of the files, which came from a replica');
      else
        this.#log.warn(
          facts,
          'A file has seen a newer epoch although this broker leads: a restored file, or Redis lost its data. Epoch raised',
        );
      return;
    }
    if (raised === 'contested') {
      this.#phase.end(
        `another broker leads the files in ${this.#dataDir} through another Redis: both repeatedly raised ` +
          `the epoch. ${lease.contest} ${SECOND_REDIS_REMEDY}`,
      );
    } else {
      this.#log.error(facts, 'Fenced: a newer broker has taken over; this one stops leading');
      this.#phase.end('fenced by a newer broker');
    }
    await new Promise<never>(() => {}); // the process ends
  }
}
