interface Kept<Handle> {
  readonly handle: Handle;
  readonly tenant: string;
  readonly forget: () => void;
}

/** Transactions that processes keep between requests, by name. */
export class KeptTransactions<Handle> {
  readonly #kept = new Map<string, Kept<Handle>>();

  /** @param forgotten called once, when it is kept no longer. */
  add(name: string, handle: Handle, tenant: string, forgotten: () => void): void {
    this.forget(name);
    this.#kept.set(name, { handle, tenant, forget: forgotten });
  }

  /** The process that keeps it. */
  find(name: string): Handle | undefined {
    return this.#kept.get(name)?.handle;
  }

  /** @returns the process that kept it. */
  forget(name: string): Handle | undefined {
    const kept = this.#kept.get(name);
    this.#kept.delete(name);
    kept?.forget();
    return kept?.handle;
  }

  /** Forgets all of a process that has ended. */
  forgetAllOf(handle: Handle): void {
    for (const [name, kept] of this.#kept) if (kept.handle === handle) this.forget(name);
  }

  /** Whether a process keeps any. */
  has(handle: Handle): boolean {
    return [...this.#kept.values()].some(kept => kept.handle === handle);
  }

  /** Whether a process keeps one of another tenant. */
  hasOther(handle: Handle, tenant: string): boolean {
    return [...this.#kept.values()].some(kept => kept.handle === handle && kept.tenant !== tenant);
  }
}
