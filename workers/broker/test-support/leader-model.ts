import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { LaneWork } from '../src/lanes/lane.ts';
import type { LeaderParts } from '../src/leader/leader-parts.ts';
import { LeaderPhase } from '../src/leader/leader-phase.ts';
import type { TenantSession } from '../src/tenant/session/tenant-session.ts';

/*
 * What the parts of a leader share, for tests of one part: without Redis, threads and database files. What others would see is in
 * `steps`, in its order.
 */

/** Resolves never: an answer that does not come. */
export const never = <Result = void>(): Promise<Result> => new Promise<Result>(() => {});

/** A session as the leader sees it; a test changes what it needs. */
export interface FakeSession {
  readonly tenant: string;
  asleep: boolean;
  held: number;
  mayHaveMore: boolean;
  waitsForReplica: number;
  isInTransit: boolean;
  reclaimed: number;
  ownsQueue: boolean;
  drain: () => Promise<void>;
  requeue: () => Promise<number>;
  notify: () => void;
  tryFile: () => void;
  untilFetched: () => Promise<void>;
  reclaim: () => Promise<number>;
}

/** Work of a thread: one job of `tenant`, named after it. @param data of its job */
export function createWork(client: { readonly tenant: string }, data = ''): LaneWork {
  return { client, task: { jobs: [{ id: `job-of-${client.tenant}`, data }] } } as unknown as LaneWork;
}

/** The parts of one leader. */
export class ModelLeader {
  readonly steps: string[] = [];
  readonly logged: string[] = [];
  /** Tenants whose next offence pauses them. */
  readonly tooOften = new Set<string>();
  /** Lanes, as the watchdog sees them. */
  readonly lanes: {
    work: LaneWork | undefined;
    position: { job: number; op: number };
    begunBytes: number;
  }[] = [];
  apartWork: LaneWork | undefined;
  /** The replicator of this leader. */
  shipping: LeaderParts['shipping'];
  /** What closing all files answers: how many were left. */
  closeFiles: () => Promise<number> = async () => 0;
  /** Code by which a tenant is parked. */
  parkedCode: string | undefined;
  /** Tenants whose file could not be opened. */
  unopened: readonly string[] = [];
  readonly dataDir: string;
  readonly phase: LeaderPhase;
  readonly parts: LeaderParts;
  readonly #sessions = new Map<string, FakeSession>();

  constructor() {
    this.dataDir = mkdtempSync(join(tmpdir(), 'leader-'));
    const note = (step: string) => void this.steps.push(step);
    const keep = (_: unknown, message: string) => void this.logged.push(message);
    const log = { info: keep, warn: keep, error: keep, fatal: keep } as unknown as Logger;
    this.phase = new LeaderPhase(reason => note(`end: ${reason}`), log);
    this.phase.lead();
    const link = {
      call: async (...command: unknown[]) => note(command.join(' ')),
      retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
    };
    const offence = (kind: string) => async (tenant: string) => {
      note(`${kind} ${tenant}`);
      return this.tooOften.has(tenant);
    };
    const [judge, offend] = [offence('judge'), offence('offence of')];
    const model = this;
    const services = {
      lanes: {
        all: this.lanes,
        apart: {
          get work() {
            return model.apartWork;
          },
        },
        close: () => {
          note('close files');
          return this.closeFiles();
        },
        closeFile: async (tenant: string) => note(`close file of ${tenant}`),
        untilFewerWait: async () => {},
      },
      memory: { untilFewerWait: async () => {} },
      deadLetters: { close: () => note('close dead letters') },
      waker: {
        stop: async (tenant: string) => note(`stop waking ${tenant}`),
        close: async () => note('stop waking'),
      },
      offenders: {
        note: ({ tenant, sender }: { tenant: string; sender?: string | undefined }) =>
          offend(sender === undefined ? tenant : `${tenant} by ${sender}`),
        noteSuspects: async (all: readonly { tenant: string }[]) =>
          note(`suspect ${all.map(({ tenant }) => tenant).join(' ')}`),
        judgeSuspect: (tenant: string) => judge(tenant),
      },
      epoch: () => 7,
      replacements: { note: async (epoch: number) => note(`replacement in epoch ${epoch}`) },
      poisoned: {
        poison: async (jobId: string, op: number, { code }: WireError) =>
          note(`poison ${jobId}.${op} ${code}`),
        suspect: async (ids: readonly string[]) => note(`run apart ${ids.join(' ')}`),
        forgetUnclaimed: async () => note('forget unclaimed'),
      },
      parked: {
        codeOf: () => this.parkedCode,
        get unopened() {
          return model.unopened;
        },
        release: (tenant: string) => note(`release ${tenant}`),
      },
      onHeld: (tenant: string) => note(`held ${tenant}`),
      onBug: (error: unknown) => note(`bug: ${String(error)}`),
    };
    this.parts = {
      options: {
        config: {
          ...{ group: 'default', dataDir: this.dataDir, dbFile: 'tenant.db' },
          ...{ statementTimeoutMs: 1_000, writeMemoryBytes: 64 * 1_024 * 1_024, sweepIntervalMs: 1_000 },
        },
        ...{ log, link, successor: { coming: false } },
        lease: { release: async () => note('release the lease') },
      },
      ...{ phase: this.phase, services },
      get shipping() {
        return model.shipping;
      },
      apart: { process: { kill: async () => note('kill the process apart') } },
      sessions: {
        get all() {
          return [...model.#sessions.values()];
        },
        get size() {
          return model.#sessions.size;
        },
        find: (tenant: string) => this.#sessions.get(tenant),
        has: (tenant: string) => this.#sessions.has(tenant),
        of: (tenant: string) => this.#sessions.get(tenant) ?? this.open(tenant, { asleep: true }),
        forget: ({ tenant }: TenantSession) => {
          note(`forget ${tenant}`);
          this.#sessions.delete(tenant);
        },
        leaveOpenSet: async (tenants: readonly string[]) => note(`leave open set: ${tenants.join(' ')}`),
      },
    } as unknown as LeaderParts;
  }

  /** Opens a session. */
  open(tenant: string, more: Partial<FakeSession> = {}): FakeSession {
    const note = (step: string) => void this.steps.push(`${step} ${tenant}`);
    const session: FakeSession = {
      ...{
        tenant,
        asleep: false,
        held: 0,
        mayHaveMore: false,
        waitsForReplica: 0,
        isInTransit: false,
        reclaimed: 0,
        ownsQueue: true,
      },
      drain: async () => note('drain'),
      requeue: async () => {
        note('requeue');
        return 0;
      },
      notify: () => note('notify'),
      tryFile: () => note('try the file of'),
      untilFetched: async () => {},
      reclaim: async () => {
        note('reclaim');
        return 0;
      },
      ...more,
    };
    this.#sessions.set(tenant, session);
    return session;
  }

  /** Removes what it wrote. */
  close(): void {
    rmSync(this.dataDir, { recursive: true });
  }
}
