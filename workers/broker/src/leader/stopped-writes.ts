import { parseWriteJob, type WireError } from '@onewriter/protocol';
import type { ApartFinding } from '../lanes/apart/apart.ts';
import type { LaneWork } from '../lanes/lane.ts';
import {
  type CostlyWrite,
  type MemoryFinding,
  MemoryWatch,
  writeMemoryBytes,
} from '../lanes/memory-watch.ts';
import { type StuckWrite, Watchdog } from '../lanes/watchdog.ts';
import { factsOfWrite } from '../observe/job-log.ts';
import type { Offender } from '../tenant/offenders.ts';
import type { LeaderParts } from './leader-parts.ts';
import { replaceProcess } from './replace-process.ts';

/*
 *   in a thread   too long, or too much memory ──▶ poisoned  ──▶ this process is replaced
 *                 … and beside one that took too long those that run for long ──▶ run apart next
 *                 any of several: too much memory ──▶ suspects, which run apart next ──▶ this process is replaced
 *   apart         too long, or too much memory ──▶ poisoned  ──▶ only the process apart ends
 */

/** A statement may run this much longer while the successor process is still starting. */
const SUCCESSOR_GRACE_MS = 2_000;
/** A statement beside one that is stuck, for this part of the deadline: it may be the next that is, so it runs apart next. */
const PART_TO_SUSPECT = 4;

/** Watches the writes that run, and stops those that take too long or too much memory. */
export class StoppedWrites {
  readonly #parts: LeaderParts;
  /** Stops the leader. */
  readonly #stopLeader: () => void;
  readonly #watchdog: Watchdog;
  readonly #memoryWatch: MemoryWatch;

  /** Watches from now on. @param stopLeader called before the process is replaced */
  constructor(parts: LeaderParts, stopLeader: () => void) {
    const { config, successor } = parts.options;
    const { lanes } = parts.services;
    this.#parts = parts;
    this.#stopLeader = stopLeader;
    this.#watchdog = new Watchdog(
      () => lanes.all,
      () => config.statementTimeoutMs + (successor.coming ? SUCCESSOR_GRACE_MS : 0),
      stuck => void this.#onStuck(stuck),
    );
    this.#memoryWatch = new MemoryWatch(
      () => lanes.all,
      writeMemoryBytes(config.writeMemoryBytes),
      finding => void this.#onMemoryGrown(finding),
    );
  }

  /** Watches no more. Idempotent. */
  stop(): void {
    this.#watchdog.close();
    this.#memoryWatch.close();
  }

  /** A write in the process apart: only that process ends, and this one continues. */
  onStoppedApart(work: LaneWork, jobId: string, op: number, finding: ApartFinding): void {
    const { options, phase, services } = this.#parts;
    const { statementTimeoutMs } = options.config;
    const error =
      finding.kind === 'memory' ? tookTooMuch(finding.limitBytes) : tookTooLong(statementTimeoutMs);
    options.log.error(
      { ...factsOfWork(work, jobId, op), ...finding },
      'A statement that ran apart takes too much; setting it aside and ending the process apart',
    );
    // This process has the verdict at once; Redis gets it for successors.
    this.#poison(work, jobId, op, error)
      .then(isPaused => {
        if (isPaused && !phase.isEnding) services.onHeld(work.client.tenant);
      })
      .catch(services.onBug);
  }

  /** A suspect has run: its tenant had a share in what was found, or none. */
  onAppliedApart(tenant: string, isCostly: boolean): void {
    const { phase, services } = this.#parts;
    services.offenders
      .judgeSuspect(tenant, isCostly)
      .then(isPaused => {
        if (isPaused && !phase.isEnding) services.onHeld(tenant);
      })
      .catch(services.onBug);
  }

  /** A statement that never ends can only be ended with its process. All other work is handed over first. */
  async #onStuck({ work, jobId, op, ranMs }: StuckWrite): Promise<void> {
    const { config, log } = this.#parts.options;
    const { statementTimeoutMs } = config;
    log.error(
      { ...factsOfWork(work, jobId, op), ranMs: Math.round(ranMs), statementTimeoutMs },
      'A statement runs past its deadline; setting it aside and replacing this process',
    );
    const error = tookTooLong(statementTimeoutMs);
    // As many as there are lanes for one replacement, and not one for each. Their jobs alone run apart: an honest statement may be
    // among them, and its sender may be the app that writes to all tenants.
    const beside = this.#watchdog
      .runningFor(statementTimeoutMs / PART_TO_SUSPECT)
      .flatMap(running => (running.work === work ? [] : [running.jobId]));
    const { poisoned } = this.#parts.services;
    await replaceProcess({
      parts: this.#parts,
      stop: this.#stopLeader,
      works: [work],
      note: () =>
        this.#noteReplacement(
          this.#poison(work, jobId, op, error),
          ...(beside.length === 0 ? [] : [poisoned.suspect(beside)]),
        ),
    });
  }

  /** A statement that uses memory without end can only be ended with its process, too, and sooner. */
  async #onMemoryGrown(finding: MemoryFinding): Promise<void> {
    const overrun = new AbortController();
    // Without its note the successor would run it again, so noting may cost more memory than handing over.
    const tooLate = {
      toNote: this.#memoryWatch.untilOverrun(2, overrun.signal),
      toHandOver: this.#memoryWatch.untilOverrun(0.5, overrun.signal),
    };
    const writes = finding.kind === 'one' ? [finding.write] : finding.writes;
    this.#logGrown(finding.kind, writes);
    await replaceProcess({
      parts: this.#parts,
      stop: this.#stopLeader,
      works: writes.map(({ work }) => work),
      note: () =>
        this.#noteReplacement(
          finding.kind === 'one' ? this.#poisonCostly(finding.write) : this.#suspect(finding.writes),
        ),
      tooLate,
    });
    overrun.abort();
  }

  #logGrown(kind: MemoryFinding['kind'], writes: readonly CostlyWrite[]): void {
    const { limitBytes } = this.#memoryWatch;
    for (const { work, jobId, op, grownBytes } of writes) {
      this.#parts.options.log.error(
        { ...factsOfWork(work, jobId, op), grownBytes: Math.round(grownBytes), limitBytes },
        kind === 'one'
          ? 'A statement uses more memory than a write may; setting it aside and replacing this process'
          : 'The process grew by more memory than a write may use while several statements ran; each of them runs apart next',
      );
    }
  }

  /** @param notes of the writes to blame, under way */
  #noteReplacement(...notes: readonly Promise<unknown>[]): Promise<unknown> {
    const { replacements, epoch } = this.#parts.services;
    return Promise.all([...notes, replacements.note(epoch())]);
  }

  async #suspect(writes: readonly CostlyWrite[]): Promise<void> {
    const { poisoned, offenders } = this.#parts.services;
    await Promise.all([
      poisoned.suspect(writes.map(({ jobId }) => jobId)),
      offenders.noteSuspects(writes.map(({ work, jobId, op }) => offenderOf(work, jobId, op))),
    ]);
  }

  #poisonCostly({ work, jobId, op }: CostlyWrite): Promise<boolean> {
    return this.#poison(work, jobId, op, tookTooMuch(this.#memoryWatch.limitBytes));
  }

  /** @returns whether the tenant is paused now */
  async #poison(work: LaneWork, jobId: string, op: number, error: WireError): Promise<boolean> {
    const { poisoned, offenders } = this.#parts.services;
    const [isPaused] = await Promise.all([
      offenders.note(offenderOf(work, jobId, op)),
      poisoned.poison(jobId, op, error),
    ]);
    return isPaused;
  }
}

/** Facts about a stopped write, for people. */
function factsOfWork({ client, task }: LaneWork, jobId: string, op: number) {
  const job = task.jobs.find(({ id }) => id === jobId);
  return {
    tenant: client.tenant,
    job: jobId,
    write: op,
    ...(job === undefined ? {} : factsOfWrite(job, op)),
  };
}

/** The tenant and the sender of a stopped write. */
function offenderOf({ client, task }: LaneWork, jobId: string, op: number): Offender {
  const job = task.jobs.find(({ id }) => id === jobId);
  const { tenant } = client;
  try {
    return { tenant, sender: job && parseWriteJob(job.data).ops[op]?.o };
  } catch {
    return { tenant }; // unreadable: no write of it runs
  }
}

function tookTooLong(statementTimeoutMs: number): WireError {
  return {
    code: 'STATEMENT_TIMEOUT',
    message: `The statement ran longer than ${statementTimeoutMs} ms and was stopped; it was not applied.`,
    details: { statementTimeoutMs },
  };
}

function tookTooMuch(limitBytes: number): WireError {
  return {
    code: 'STATEMENT_TOO_COSTLY',
    message: `The statement used more than ${limitBytes} bytes of memory and was stopped; it was not applied.`,
    details: { limitBytes },
  };
}
