import { RecentUse } from '../security/recent-use.ts';

/*
 * Whose read begins next, and in which process. A read that takes long cannot be moved, so tenants with short reads, and those of
 * which nothing is known, find a process that is not busy with long ones:
 *
 *   all                     those that used the processes for the least time lately go first; a tenant never has all of them, nor has
 *                           a token with its tenants together
 *   a read of LONG_CPU_MS   its process is background from then on: it runs while a CPU has nothing else to do. So is one that takes a read
 *                           of a tenant that used MANY_CPU_MS lately, with many short reads
 *   a read of LONG_MS       all tenants that had one lately, or have one, together leave one process to others
 *
 * One of all processes is not in the background, or is about to be started. A process that keeps a transaction between requests takes
 * reads of other tenants only if there is no other process, and none that had a long one lately: the transaction would have to wait. So one
 * process keeps none, but of tenants with long reads.
 */

/** A process, as far as this matters. */
export interface SharedProcess {
  readonly free: boolean;
  /** Whose read it runs. */
  readonly tenant: string | undefined;
  /** The token of several tenants that asked for it. */
  readonly owner?: string | undefined;
  /** Since when; monotonic, ms. */
  readonly busySince: number;
  readonly isBackground: boolean;
  /** CPU time that it has used. */
  cpuMs(): number;
  makeBackground(): void;
}

/** A read that waits. */
export interface SharedTask<Process> {
  readonly tenant: string;
  readonly owner?: string | undefined;
  /** The only process that can run it. */
  readonly pinned: Process | undefined;
  /** Its transaction may outlast it. */
  readonly mayStayOpen: boolean;
}

/** Who keeps transactions in a process. */
export interface Keepers<Process> {
  has(process: Process): boolean;
  hasOther(process: Process, tenant: string): boolean;
}

/** Of CPU time: on a busy machine any read takes long. */
const LONG_CPU_MS = 300;
/** Of CPU time in a few seconds: a fifth of a core, all the time. */
const MANY_CPU_MS = 1_500;
/** Of the clock: so long others wait for its process. */
const LONG_MS = 500;
const LEAST_LOOK_MS = 20;

/** Shares the processes of reads among tenants. */
export class ReadShares<Process extends SharedProcess> {
  readonly #maxProcesses: number;
  readonly #processes: ReadonlySet<Process>;
  readonly #kept: Keepers<Process>;
  readonly #recent = new RecentUse();
  readonly #recentCpu = new RecentUse();

  constructor(maxProcesses: number, processes: ReadonlySet<Process>, kept: Keepers<Process>) {
    this.#maxProcesses = maxProcesses;
    this.#processes = processes;
    this.#kept = kept;
  }

  /** A read of the tenant begins in a process. @returns to be called when it ends */
  begin(process: Process, tenant: string): () => void {
    const begunAt = performance.now();
    const beforeMs = process.cpuMs();
    const cpuMs = () => process.cpuMs() - beforeMs;
    // One that had a long read lately has less.
    const budgetMs = LONG_CPU_MS - this.#recentCpuMs(tenant, begunAt);
    let timer: NodeJS.Timeout | undefined;
    const look = (leftMs: number) => {
      if (leftMs > 0)
        timer = setTimeout(() => look(budgetMs - cpuMs()), Math.max(LEAST_LOOK_MS, leftMs)).unref();
      else process.makeBackground();
    };
    if (this.#maxProcesses > 1) look(budgetMs);
    return () => {
      clearTimeout(timer);
      const now = performance.now();
      this.#recent.add(tenant, now - begunAt, now);
      this.#recentCpu.add(tenant, cpuMs(), now);
    };
  }

  /** How long the tenant had processes lately, with those that it has now, in ms. */
  usedMs(tenant: string, now: number): number {
    let usedMs = this.#recent.sumMs(tenant, now);
    for (const process of this.#processes) if (process.tenant === tenant) usedMs += now - process.busySince;
    return usedMs;
  }

  /** CPU time of the tenant's longest read lately; many short ones count as a long one. */
  #recentCpuMs(tenant: string, now: number): number {
    const recent = this.#recentCpu;
    return Math.max(recent.longestMs(tenant, now), (recent.sumMs(tenant, now) * LONG_CPU_MS) / MANY_CPU_MS);
  }

  #longestMs(tenant: string, now: number): number {
    let longestMs = this.#recent.longestMs(tenant, now);
    for (const process of this.#processes)
      if (process.tenant === tenant) longestMs = Math.max(longestMs, now - process.busySince);
    return longestMs;
  }

  /** Processes in the order in which they take reads. */
  inOrder(): Process[] {
    return [...this.#processes].sort((a, b) => Number(a.isBackground) - Number(b.isBackground));
  }

  /** Whether the task may begin in this free process. */
  mayBegin(task: SharedTask<Process>, process: Process, now: number): boolean {
    const { tenant, owner, pinned } = task;
    const most = Math.max(1, this.#maxProcesses - 1);
    if (this.#count(other => other.tenant === tenant) >= most) return false;
    if (owner !== undefined && this.#count(other => other.owner === owner) >= most) return false;
    if (this.#maxProcesses === 1) return true;
    const isLong = this.#longestMs(tenant, now) > LONG_MS;
    if (isLong && this.#long(now) >= most) return false;
    if (pinned !== undefined) return true;
    return (
      this.#mayBeside(task, process, isLong) &&
      (this.#recentCpuMs(tenant, now) < LONG_CPU_MS ||
        process.isBackground ||
        !this.#hasFreeBackground(tenant))
    );
  }

  /** Whether no transaction would have to wait for the task, or for those that would find no other process. */
  #mayBeside({ tenant, mayStayOpen }: SharedTask<Process>, process: Process, isLong: boolean): boolean {
    const missing = this.#maxProcesses - this.#processes.size;
    if (this.#kept.hasOther(process, tenant)) {
      if (isLong) return false;
      if (mayStayOpen) return true;
      return missing === 0 && this.#count(other => other.free && !this.#kept.hasOther(other, tenant)) === 0;
    }
    if (!mayStayOpen || isLong || this.#kept.has(process)) return true;
    return missing + this.#count(other => !this.#kept.has(other)) > 1;
  }

  /** Whether all processes are in the background. */
  get lacksForeground(): boolean {
    return this.#maxProcesses > 1 && [...this.#processes].every(({ isBackground }) => isBackground);
  }

  #long(now: number): number {
    return this.#count(({ tenant }) => tenant !== undefined && this.#longestMs(tenant, now) > LONG_MS);
  }

  #hasFreeBackground(tenant: string): boolean {
    return this.#count(other => other.free && other.isBackground && !this.#kept.hasOther(other, tenant)) > 0;
  }

  #count(counts: (process: Process) => boolean): number {
    let count = 0;
    for (const process of this.#processes) if (counts(process)) count++;
    return count;
  }
}
