import { type StatusReplicaFailure, toWireError } from '@onewriter/protocol';

const MAX_FAILURES = 20;

/** The last failures of what is tried again, for people: the newest of each tenant. */
export class Failures {
  readonly #nowMs: () => number;
  #newest: readonly StatusReplicaFailure[] = [];

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get newest(): readonly StatusReplicaFailure[] {
    return this.#newest;
  }

  /** @param tenant '' where it is about all */
  note(tenant: string, error: unknown): void {
    const failure = { tenant, message: toWireError(error).message, at: this.#nowMs() };
    const others = this.#newest.filter(other => other.tenant !== tenant);
    this.#newest = [failure, ...others].slice(0, MAX_FAILURES);
  }

  /** A disk that is full or fails must not end the thread. @returns undefined where `run` throws */
  try<T>(tenant: string, run: () => T): T | undefined {
    try {
      return run();
    } catch (error) {
      this.note(tenant, error);
      return undefined;
    }
  }
}
