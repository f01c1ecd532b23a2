/** A body whose turn it is. */
export interface Turn<Body> {
  readonly owner: string;
  readonly body: Body;
}

interface OwnerState<Body> {
  readonly waiting: Body[];
  running: number;
  /** Time that its bodies took, in ms; half as much after each HALF_LIFE_MS since `at`. */
  usedMs: number;
  at: number;
}

/** An owner that sent costly bodies is behind the others for a few times as long. */
const HALF_LIFE_MS = 5_000;
/** Owners without a body that are remembered. */
const MAX_IDLE_OWNERS = 1_000;

/**
 * Decides whose body is read next: that of the owner whose bodies took the least time lately, so that one with costly bodies does not
 * delay the others. An owner never has all threads.
 */
export class BodyTurns<Body> {
  readonly #maxRunning: number;
  /** By owner; those that ran last are at the end. */
  readonly #owners = new Map<string, OwnerState<Body>>();

  /** @param threads how many bodies are read at the same time */
  constructor(threads: number) {
    this.#maxRunning = Math.max(1, threads - 1);
  }

  add(owner: string, body: Body): void {
    const state = this.#owners.get(owner);
    if (state === undefined) this.#owners.set(owner, { waiting: [body], running: 0, usedMs: 0, at: 0 });
    else state.waiting.push(body);
  }

  /** A body that waits is not read; does nothing for another. */
  remove(owner: string, body: Body): void {
    const waiting = this.#owners.get(owner)?.waiting;
    const index = waiting?.indexOf(body) ?? -1;
    if (index >= 0) waiting!.splice(index, 1);
    this.#forgetIdle();
  }

  /** The body to read now. Each is followed by {@link end}. @param now in ms */
  next(now: number): Turn<Body> | undefined {
    let best:
      | { readonly owner: string; readonly state: OwnerState<Body>; readonly usedMs: number }
      | undefined;
    for (const [owner, state] of this.#owners) {
      if (state.waiting.length === 0 || state.running >= this.#maxRunning) continue;
      const usedMs = usedAt(state, now);
      if (best === undefined || usedMs < best.usedMs) best = { owner, state, usedMs };
    }
    if (best === undefined) return undefined;
    const { owner, state } = best;
    state.running++;
    return { owner, body: state.waiting.shift()! };
  }

  /** A body of this owner is not read any more. @param ms how long it was */
  end(owner: string, ms: number, now: number): void {
    const state = this.#owners.get(owner)!;
    state.running--;
    state.usedMs = usedAt(state, now) + ms;
    state.at = now;
    // Of equal owners the one that waited longest is first.
    this.#owners.delete(owner);
    this.#owners.set(owner, state);
    this.#forgetIdle();
  }

  /** Removes what waits. */
  clear(): Body[] {
    const bodies: Body[] = [];
    for (const { waiting } of this.#owners.values()) bodies.push(...waiting.splice(0));
    return bodies;
  }

  /** The owners with a body are as many as there are requests. */
  #forgetIdle(): void {
    if (this.#owners.size <= MAX_IDLE_OWNERS) return;
    for (const [owner, { waiting, running }] of this.#owners) {
      if (waiting.length > 0 || running > 0) continue;
      this.#owners.delete(owner);
      if (this.#owners.size <= MAX_IDLE_OWNERS) return;
    }
  }
}

function usedAt({ usedMs, at }: OwnerState<unknown>, now: number): number {
  return usedMs * 0.5 ** ((now - at) / HALF_LIFE_MS);
}
