import { OnewriterError } from '@onewriter/protocol';

/** Reads that wait for a process; beyond this, callers get RATE_LIMITED. */
const MAX_WAITING = 1_000;
/** Share of one tenant. */
const MAX_WAITING_OF_TENANT = MAX_WAITING / 4;
const RETRY_AFTER_MS = 500;

/** A task that waits for a process. */
export interface WaitingTask<Handle> {
  readonly tenant: string;
  /** The token of several tenants that asked for it. */
  readonly owner?: string | undefined;
  /** When it began to wait; monotonic, ms. */
  readonly since: number;
  /** Only this process has the transaction that the task continues. */
  readonly pinned: Handle | undefined;
  /** Its transaction may outlast it. */
  readonly mayStayOpen: boolean;
}

/** Tasks that wait for a process: so many at most, and of one tenant a share. */
export class WaitingTasks<Handle, Task extends WaitingTask<Handle>> {
  readonly #tasks: Task[] = [];

  get size(): number {
    return this.#tasks.length;
  }

  get oldest(): Task | undefined {
    return this.#tasks[0];
  }

  /** @returns RATE_LIMITED where no more of the tenant may wait. */
  refusal(tenant: string): OnewriterError | undefined {
    let own = 0;
    for (const task of this.#tasks) if (task.tenant === tenant) own++;
    if (this.#tasks.length < MAX_WAITING && own < MAX_WAITING_OF_TENANT) return undefined;
    const message =
      own < MAX_WAITING_OF_TENANT
        ? `${MAX_WAITING} reads wait already; try again.`
        : `${own} reads of this tenant wait already; try again.`;
    return new OnewriterError('RATE_LIMITED', message, { tenant, retryAfterMs: RETRY_AFTER_MS });
  }

  push(task: Task): void {
    this.#tasks.push(task);
  }

  /** @returns whether it still waited. */
  remove(task: Task): boolean {
    const index = this.#tasks.indexOf(task);
    if (index >= 0) this.#tasks.splice(index, 1);
    return index >= 0;
  }

  /**
   * Removes and returns a task that this process may run: of those of the tenant that used the processes least, the oldest.
   * @param usedBy how much a tenant used them
   */
  next(
    handle: Handle,
    mayBegin: (task: Task) => boolean,
    usedBy: (tenant: string) => number,
  ): Task | undefined {
    let best: { readonly index: number; readonly used: number } | undefined;
    const seen = new Set<string>();
    for (const [index, task] of this.#tasks.entries()) {
      if ((task.pinned ?? handle) !== handle) continue;
      // The first of a tenant is the oldest; those with a transaction, or of another token, may begin where it may not.
      const kind = `${task.tenant} ${task.owner} ${task.pinned !== undefined} ${task.mayStayOpen}`;
      if (seen.has(kind)) continue;
      seen.add(kind);
      if (!mayBegin(task)) continue;
      const used = usedBy(task.tenant);
      if (best === undefined || used < best.used) best = { index, used };
    }
    return best && this.#tasks.splice(best.index, 1)[0];
  }

  /** Tasks that only this process can run. */
  pinnedTo(handle: Handle): Task[] {
    return this.#tasks.filter(({ pinned }) => pinned === handle);
  }
}
