import { createRandom, type Random } from '../random.ts';

/** What a request is billed as. */
export type S3Kind = 'get' | 'put' | 'delete' | 'list';

/** Faults of {@link startS3}; what is not given is sound. All of it is JSON, for a server in a process of its own. */
export interface S3Faults {
  /** Only requests of these kinds; default: all. */
  readonly kinds?: readonly S3Kind[] | undefined;
  /** Only requests for keys that contain this. */
  readonly keys?: string | undefined;
  /** Each answer waits so long. */
  readonly latencyMs?: number | undefined;
  /** The next `count` requests are answered with `status` and not done. */
  readonly failNext?: { readonly count: number; readonly status: number } | undefined;
  /** The next so many requests are done, but their connections end without an answer. */
  readonly dropReplies?: number | undefined;
  /** The next so many answers end in the middle of their bodies. */
  readonly truncateReplies?: number | undefined;
  /** Of all requests, at random: answered with 503, done without an answer, not done and not answered. From 0 to 1. */
  readonly failRate?: number | undefined;
  readonly dropRate?: number | undefined;
  readonly loseRate?: number | undefined;
  /** For the rates. Default: 1. */
  readonly seed?: number | undefined;
  /** All connections end at once, without an answer. */
  readonly down?: boolean | undefined;
  /** Requests are read and never answered. */
  readonly hangs?: boolean | undefined;
  /** If-Match and If-None-Match are passed over. */
  readonly ignoresConditions?: boolean | undefined;
  /** Bodies of answers are sent at this speed. */
  readonly bytesPerSecond?: number | undefined;
}

/** What happens to one request. */
export interface S3Fate {
  readonly latencyMs: number;
  /** Not done, and answered so; 'cut': not answered; 'hang': never. */
  readonly refuse?: number | 'cut' | 'hang' | undefined;
  /** How it is answered after it was done. */
  readonly reply: 'whole' | 'truncated' | 'none';
  readonly ignoresConditions: boolean;
  readonly bytesPerSecond: number | undefined;
}

const SOUND: S3Fate = { latencyMs: 0, reply: 'whole', ignoresConditions: false, bytesPerSecond: undefined };

/** Decides what happens to each request. */
export class S3FaultPlan {
  #faults: S3Faults = {};
  #random: Random = createRandom(1);
  #left = { fail: 0, drop: 0, truncate: 0 };

  /** Replaces all faults. */
  set(faults: S3Faults): void {
    this.#faults = faults;
    this.#random = createRandom(faults.seed ?? 1);
    this.#left = {
      fail: faults.failNext?.count ?? 0,
      drop: faults.dropReplies ?? 0,
      truncate: faults.truncateReplies ?? 0,
    };
  }

  fateOf(kind: S3Kind, key: string): S3Fate {
    const { kinds, keys, latencyMs = 0, ignoresConditions = false, bytesPerSecond } = this.#faults;
    if ((kinds && !kinds.includes(kind)) || (keys !== undefined && !key.includes(keys))) return SOUND;
    const fate: S3Fate = { latencyMs, reply: 'whole', ignoresConditions, bytesPerSecond };
    const refuse = this.#refusal();
    if (refuse !== undefined) return { ...fate, refuse };
    if (this.#take('drop') || this.#random.chance(this.#faults.dropRate ?? 0))
      return { ...fate, reply: 'none' };
    return this.#take('truncate') ? { ...fate, reply: 'truncated' } : fate;
  }

  #refusal(): S3Fate['refuse'] {
    const { down, hangs, failNext, failRate = 0, loseRate = 0 } = this.#faults;
    if (down) return 'cut';
    if (hangs) return 'hang';
    if (this.#take('fail')) return failNext!.status;
    if (this.#random.chance(failRate)) return 503;
    return this.#random.chance(loseRate) ? 'cut' : undefined;
  }

  #take(what: 'fail' | 'drop' | 'truncate'): boolean {
    if (this.#left[what] === 0) return false;
    this.#left[what]--;
    return true;
  }
}
