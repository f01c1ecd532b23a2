import { randomBytes } from 'node:crypto';
import { OnewriterError } from '@onewriter/protocol';
import { type VerifiedToken, watchAccess } from '@onewriter/runtime';
import { type Owner, ownerOf, Shares, type Taken } from '../../security/shares.ts';
import type { BatonSigner } from './baton.ts';
import { SqlStore } from './sql-store.ts';
import type { StepError } from './steps.ts';

/*
 *                        BEGIN, reads                 first write
 *   autocommit ─────────────────────────▶ reading ─────────────────▶ writing
 *     ▲  │         BEGIN IMMEDIATE           │                          │
 *     │  └───────────────────────────────────┼──────────▶ writing       │ taken away, or its process ended
 *     │            COMMIT, ROLLBACK          ▼                          ▼
 *     └──────────────────────────────────────┴─────── ROLLBACK ◀────── lost
 *
 * Outside a transaction a stream holds nothing but its stored SQL texts, and whether its foreign keys are off. Then all that it sends
 * runs in the writer (infra/adr/0058).
 */

/** The transaction that a stream has open, if any. */
export type StreamState =
  | { readonly type: 'autocommit' }
  /** A snapshot in a reading process, kept under `name`. */
  | {
      readonly type: 'reading';
      readonly name: string;
      /** BEGIN READONLY: its first write fails. */
      readonly readonly: boolean;
      /** The newest commit that it sees, once it has read anything. */
      readonly commitSeq: number | undefined;
      /** The file that it reads: a commit with this number in another is not the one that it sees. */
      readonly incarnation: string | undefined;
      /** Monotonic, ms: it ends then, used or not. */
      readonly endsAt: number;
    }
  /** A transaction of the writer. */
  | { readonly type: 'writing'; readonly id: string }
  /** Nothing runs until ROLLBACK, so that no later statement commits outside the lost transaction. */
  | { readonly type: 'lost'; readonly error: StepError };

/** A client's connection, as far as HTTP has such a thing. */
export interface HranaStream {
  readonly id: string;
  readonly tenant: string;
  /** Tenant and token, for its batons. */
  readonly owner: string;
  /** Whose shares it takes, and what it has of each pool. */
  readonly shares: Owner;
  held: HeldShares | undefined;
  sequence: number;
  /** Replaced by {@link StreamRegistry.begin}, never changed. */
  sqls: SqlStore;
  state: StreamState;
  /** `PRAGMA foreign_keys=OFF` holds for what comes next. */
  foreignKeysOff: boolean;
  /** A request is using it. */
  busy: boolean;
  /** Monotonic, ms. */
  usedAt: number;
  /** Ends the watch over its token, while it holds something. */
  stopWatch: (() => void) | undefined;
  /** Its token has ended: the stream ends with the next sweep. */
  tokenEnded: boolean;
}

/** What a stream that holds something has of the pools. */
interface HeldShares {
  readonly stream: Taken;
  readonly characters: Taken;
  /** Share of a snapshot, also while the request may begin one. */
  snapshot: Taken | undefined;
}

/** What a stream may hold at the end of a request. */
export interface StreamPlan {
  /** Anything. */
  readonly mayHold: boolean;
  /** A snapshot that it does not have yet. */
  readonly mayRead: boolean;
}

/** Settings of {@link StreamRegistry}. */
export interface StreamRegistryOptions {
  readonly signer: BatonSigner;
  /** A snapshot that is not used for this long is released. */
  readonly readIdleMs: number;
  /** Ends the open transaction of a stream. */
  readonly onEnd: (stream: HranaStream) => void;
  /** Releases the snapshot of a stream, which stays. */
  readonly onSnapshotExpired: (stream: HranaStream) => void;
}

/** Streams that hold something, in all and of one tenant or token. */
const MAX_HOLDING = 2_000;
const MAX_HOLDING_OF_OWNER = 100;
/** Snapshots, each a connection of its own in a reading process; a quarter of them for one tenant or token. */
const MAX_SNAPSHOTS = 128;
/** SQL texts of all streams; a quarter of them for one tenant or token. */
const MAX_STORED_CHARACTERS = 16 * 1024 * 1024;
/** Streams that hold nothing; the least recently used are forgotten, and reopen silently. */
const MAX_IDLE = 10_000;
/** A stream that holds something ends after this without a request. */
const EXPIRE_AFTER_MS = 60_000;
const SWEEP_EVERY_MS = 1_000;

/** The streams of this gateway. */
export class StreamRegistry {
  readonly #options: StreamRegistryOptions;
  /** The least recently used first. */
  readonly #streams = new Map<string, HranaStream>();
  /** Those of them that hold something, or may at the end of their current request. */
  readonly #holding = new Set<HranaStream>();
  readonly #sweeping: NodeJS.Timeout;
  readonly #shares = {
    streams: new Shares({ what: 'open transactions', total: MAX_HOLDING, share: MAX_HOLDING_OF_OWNER }),
    snapshots: new Shares({ what: 'open snapshots', total: MAX_SNAPSHOTS }),
    characters: new Shares({ what: 'stored SQL texts', total: MAX_STORED_CHARACTERS }),
  };

  constructor(options: StreamRegistryOptions) {
    this.#options = options;
    this.#sweeping = setInterval(() => this.#sweep(), SWEEP_EVERY_MS).unref();
  }

  get size(): number {
    return this.#streams.size;
  }

  /**
   * The stream that a request is for: a new one without a baton.
   * @throws OnewriterError INVALID_ARGUMENT (a baton of another owner, or used before), STREAM_EXPIRED
   */
  find(baton: string | null | undefined, tenant: string, access: VerifiedToken): HranaStream {
    const owner = `${tenant}\0${access.id}`;
    const shares = ownerOf(access, tenant);
    if (baton == null) return open(tenant, owner, shares);
    const content = this.#options.signer.verify(baton, owner);
    if (content === undefined) {
      throw new OnewriterError('INVALID_ARGUMENT', 'This baton is not of this tenant and token.');
    }
    const stream = this.#streams.get(content.stream);
    if (stream === undefined) {
      if (content.stateless) return open(tenant, owner, shares);
      throw streamExpired(tenant);
    }
    if (stream.sequence === content.sequence && !stream.busy) return stream;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      'This baton was used before, and this request was not run again. What the request that it was used with did, its ' +
        'answer says; where that was lost, read what it would have written.',
      { tenant },
    );
  }

  /**
   * A request begins: the baton that it came with is used up.
   * @param sqls the SQL texts that the stream has from now on
   * @param checkToken throws UNAUTHENTICATED once the stream's token has ended; then what it holds ends, too
   * @throws OnewriterError RATE_LIMITED; the baton is then good as before
   */
  begin(
    stream: HranaStream,
    sqls: SqlStore,
    { mayHold, mayRead }: StreamPlan,
    checkToken: () => Promise<unknown>,
  ): void {
    if (mayHold) {
      this.#take(stream, sqls.characters, mayRead);
      this.#holding.add(stream);
      stream.stopWatch ??= watchAccess(checkToken, () => {
        stream.tokenEnded = true;
      });
    }
    stream.sqls = sqls;
    stream.busy = true;
    stream.sequence++;
    this.#touch(stream);
  }

  /** The request is done. @returns the baton for the next one */
  finish(stream: HranaStream): string {
    stream.busy = false;
    if (stream.state.type !== 'reading') this.#releaseSnapshot(stream);
    if (!isHolding(stream)) this.#release(stream);
    this.#touch(stream);
    return this.#options.signer.sign(
      { stream: stream.id, sequence: stream.sequence, stateless: !isHolding(stream) },
      stream.owner,
    );
  }

  /** Ends a stream; its batons become invalid. Idempotent. */
  end(stream: HranaStream): void {
    stream.busy = false;
    this.#streams.delete(stream.id);
    this.#release(stream);
    const ending = stream.state;
    if (ending.type !== 'autocommit') this.#options.onEnd(stream);
    stream.state = { type: 'autocommit' };
  }

  /** Ends all streams. Idempotent. */
  close(): void {
    clearInterval(this.#sweeping);
    for (const stream of [...this.#streams.values()]) this.end(stream);
  }

  #release(stream: HranaStream): void {
    this.#holding.delete(stream);
    stream.stopWatch?.();
    stream.stopWatch = undefined;
    this.#releaseSnapshot(stream);
    stream.held?.stream.release();
    stream.held?.characters.release();
    stream.held = undefined;
  }

  #releaseSnapshot({ held }: HranaStream): void {
    held?.snapshot?.release();
    if (held !== undefined) held.snapshot = undefined;
  }

  #touch(stream: HranaStream): void {
    stream.usedAt = performance.now();
    this.#streams.delete(stream.id);
    this.#streams.set(stream.id, stream);
    if (this.#streams.size <= MAX_IDLE) return;
    for (const [id, old] of this.#streams) {
      if (old.busy || this.#holding.has(old)) continue;
      this.#streams.delete(id);
      return;
    }
  }

  /** Takes what a request may need. @throws OnewriterError RATE_LIMITED; what the stream had stays */
  #take(stream: HranaStream, characters: number, mayRead: boolean): void {
    const { shares, held } = stream;
    const taken: Taken[] = [];
    const take = (pool: Shares, amount?: number) => {
      const one = pool.take(shares, amount);
      taken.push(one);
      return one;
    };
    try {
      const next = held ?? {
        stream: take(this.#shares.streams),
        characters: take(this.#shares.characters, 0),
        snapshot: undefined,
      };
      if (mayRead) next.snapshot ??= take(this.#shares.snapshots);
      next.characters.add(characters - next.characters.amount);
      stream.held = next;
    } catch (error) {
      for (const one of taken) one.release();
      if (held?.snapshot !== undefined && taken.includes(held.snapshot)) held.snapshot = undefined;
      throw error;
    }
  }

  #sweep(): void {
    const now = performance.now();
    for (const stream of [...this.#streams.values()]) {
      if (stream.busy) continue;
      const idleMs = now - stream.usedAt;
      const { state } = stream;
      if (idleMs > EXPIRE_AFTER_MS || stream.tokenEnded) this.end(stream);
      else if (state.type === 'reading' && (idleMs > this.#options.readIdleMs || now > state.endsAt)) {
        this.#options.onSnapshotExpired(stream);
        this.#releaseSnapshot(stream);
      }
    }
  }
}

function open(tenant: string, owner: string, shares: Owner): HranaStream {
  return {
    id: randomBytes(12).toString('base64url'),
    tenant,
    owner,
    shares,
    held: undefined,
    sequence: 0,
    sqls: new SqlStore(),
    state: { type: 'autocommit' },
    foreignKeysOff: false,
    busy: false,
    usedAt: performance.now(),
    stopWatch: undefined,
    tokenEnded: false,
  };
}

/** Whether a stream has anything that a new one would not have. */
export function isHolding({ state, foreignKeysOff, sqls }: HranaStream): boolean {
  return state.type !== 'autocommit' || foreignKeysOff || sqls.size > 0;
}

/**
 * The stream held something, and is not here: it timed out, was closed, or lives in another gateway, which may have ended.
 * It is not known here which, and so not whether a COMMIT that was sent to it was applied.
 */
function streamExpired(tenant: string): OnewriterError {
  return new OnewriterError(
    'STREAM_EXPIRED',
    'This gateway does not know the stream (any more); this request was not run. A transaction that was open in it is ' +
      'rolled back, unless its COMMIT was sent before: then its outcome is not known here. Read what it would have written ' +
      'before you run it again.',
    { tenant },
  );
}
