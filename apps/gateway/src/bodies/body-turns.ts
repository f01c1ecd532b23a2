import { RecentUse } from '../security/recent-use.ts';

/** A body whose turn it is. */
export interface Turn<Body> {
  readonly owner: string;
  readonly body: Body;
  /** Its owner has long bodies. */
  readonly isLong: boolean;
}

interface OwnerState<Body> {
  readonly waiting: Body[];
  running: number;
}

/** An owner with a body that took as much CPU time lately has long bodies. A usual one of 8 MB takes less. */
const LONG_CPU_MS = 200;

/**
 * Decides whose body is read next: that of the owner whose bodies took the least time lately, so that one with costly bodies does not
 * delay the others. An owner never has all threads. Long bodies are read by one of them only.
 */
export class BodyTurns<Body> {
  readonly #maxRunning: number;
  readonly #isLarge: (body: Body) => boolean;
  /** Time that their bodies took, in ms: an owner of costly bodies is behind the others for a few times as long. */
  readonly #recent = new RecentUse();
  readonly #recentCpu = new RecentUse();
  /** Those with a body; those whose body ended last are at the end. */
  readonly #owners = new Map<string, OwnerState<Body>>();

  /**
   * @param threads how many bodies are read at the same time
   * @param isLarge whether a body may be long whatever its owner sent before
   */
  constructor(threads: number, isLarge: (body: Body) => boolean = () => false) {
    this.#isLarge = isLarge;
    this.#maxRunning = Math.max(1, threads - 1);
  }

  /** Bodies that wait. */
  get size(): number {
    let size = 0;
    for (const { waiting } of this.#owners.values()) size += waiting.length;
    return size;
  }

  add(owner: string, body: Body): void {
    const state = this.#owners.get(owner);
    if (state === undefined) this.#owners.set(owner, { waiting: [body], running: 0 });
    else state.waiting.push(body);
  }

  /** A body that waits is not read; does nothing for another. */
  remove(owner: string, body: Body): void {
    const state = this.#owners.get(owner);
    const index = state?.waiting.indexOf(body) ?? -1;
    if (index >= 0) state!.waiting.splice(index, 1);
    if (state !== undefined && !isBusy(state)) this.#owners.delete(owner);
  }

  /**
   * The body to read now. Each is followed by {@link end}.
   * @param now in ms
   * @param mayBeLong whether it may be large, or of an owner with long bodies
   */
  next(now: number, mayBeLong = true): Turn<Body> | undefined {
    let best:
      | { readonly owner: string; readonly state: OwnerState<Body>; readonly usedMs: number }
      | undefined;
    for (const [owner, state] of this.#owners) {
      if (state.waiting.length === 0 || state.running >= this.#maxRunning) continue;
      if (!mayBeLong && (this.#hasLong(owner, now) || this.#isLarge(state.waiting[0]!))) continue;
      const usedMs = this.#recent.sumMs(owner, now);
      if (best === undefined || usedMs < best.usedMs) best = { owner, state, usedMs };
    }
    if (best === undefined) return undefined;
    const { owner, state } = best;
    state.running++;
    return { owner, body: state.waiting.shift()!, isLong: this.#hasLong(owner, now) };
  }

  /** A body of this owner is not read any more. @param ms how long it was, by the clock. @param cpuMs and by the CPU */
  end(owner: string, ms: number, now: number, cpuMs = ms): void {
    const state = this.#owners.get(owner)!;
    state.running--;
    this.#recent.add(owner, ms, now);
    this.#recentCpu.add(owner, cpuMs, now);
    // Of equal owners the one that waited longest is first.
    this.#owners.delete(owner);
    if (isBusy(state)) this.#owners.set(owner, state);
  }

  #hasLong(owner: string, now: number): boolean {
    return this.#recentCpu.longestMs(owner, now) > LONG_CPU_MS;
  }

  /** Removes what waits. */
  clear(): Body[] {
    const bodies: Body[] = [];
    for (const { waiting } of this.#owners.values()) bodies.push(...waiting.splice(0));
    return bodies;
  }
}

function isBusy({ waiting, running }: OwnerState<unknown>): boolean {
  return waiting.length > 0 || running > 0;
}
