import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { flushPath, OnewriterError, readFileIfThere } from '@onewriter/protocol';
import {
  isRevoked,
  REVOCATION_KINDS,
  type Revocation,
  type Revocations,
  type RevokedAt,
  revocationKey,
} from './revocation.ts';
import type { VerifiedToken } from './token-verifier.ts';

/** How often the folder is looked at; a revocation is known to every gateway after it. */
const LOOK_EVERY_MS = 250;
/** Two changes within it may leave the folder with one time. */
const TIME_SETTLES_MS = 2_000;
/** Clocks of issuer and servers may differ: a revocation is kept for this long after its token's end. */
const KEEP_AFTER_END_MS = 24 * 60 * 60_000;
const MAX_REVOCATIONS = 10_000;
const NAME = /^(?:jti|token|subject)-[0-9a-f]{32}$/;

/**
 * The revocations of an installation, one file each in `<dataDir>/revoked-tokens`, so that any number of processes can add
 * some at the same time, and none is lost with Redis.
 */
export class RevocationFiles implements Revocations {
  readonly #folder: string;
  /** By name of the file. */
  #known = new Map<string, number>();
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** Ms since the epoch; undefined: look again. */
  #folderTime: number | undefined;

  constructor(dataDir: string) {
    this.#folder = join(dataDir, 'revoked-tokens');
  }

  isRevoked(token: VerifiedToken): boolean {
    return isRevoked(this.current(), token);
  }

  /** What is revoked, as it was a quarter of a second ago at the latest. @throws OnewriterError KEYS_UNAVAILABLE */
  current(): RevokedAt {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_EVERY_MS) return this.#known;
    try {
      this.#look();
    } catch (cause) {
      const message = 'The list of revoked tokens cannot be read; try again.';
      throw new OnewriterError('KEYS_UNAVAILABLE', message, { retryAfterMs: 1_000 }, cause);
    }
    this.#lookedAt = now;
    return this.#known;
  }

  /** Revokes; on disk when it returns. Idempotent. @throws OnewriterError INVALID_ARGUMENT at the bound */
  add(revocation: Revocation): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const kept = this.#prune();
    const name = revocationKey(revocation.kind, revocation.value);
    if (kept.length >= MAX_REVOCATIONS && !kept.some(one => revocationKey(one.kind, one.value) === name)) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `${MAX_REVOCATIONS} revocations are kept already. Change the token secret instead: that ends all tokens.`,
      );
    }
    const draft = join(this.#folder, `${name}.${process.pid}.new`);
    const file = openSync(draft, 'w', 0o600);
    try {
      writeSync(file, JSON.stringify(revocation));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, join(this.#folder, name));
    flushPath(this.#folder);
  }

  /** All that still say something, the newest first. */
  list(): Revocation[] {
    return this.#prune().sort((a, b) => b.atMs - a.atMs);
  }

  #prune(): Revocation[] {
    const kept: Revocation[] = [];
    for (const name of this.#names()) {
      const revocation = this.#read(name);
      if (revocation === undefined) continue;
      const { untilMs } = revocation;
      if (untilMs !== null && untilMs + KEEP_AFTER_END_MS < Date.now()) {
        rmSync(join(this.#folder, name), { force: true });
      } else kept.push(revocation);
    }
    return kept;
  }

  #look(): void {
    const time = statSync(this.#folder, { throwIfNoEntry: false })?.mtimeMs;
    if (time === undefined) {
      // Nothing was revoked yet; or the folder was moved or its disk is gone, which makes no token valid again.
      this.#folderTime = undefined;
      return;
    }
    if (time === this.#folderTime) return;
    const known = new Map<string, number>();
    for (const name of this.#names()) {
      // One that is renewed gets a later time: only that of a subject matters, and its file is read again.
      const at = name.startsWith('subject-') ? undefined : this.#known.get(name);
      known.set(name, at ?? this.#read(name)?.atMs ?? Date.now());
    }
    this.#known = known;
    this.#folderTime = Date.now() - time > TIME_SETTLES_MS ? time : undefined;
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder).filter(name => NAME.test(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  /** undefined: another process has removed it. */
  #read(name: string): Revocation | undefined {
    const path = join(this.#folder, name);
    const text = readFileIfThere(path);
    return text === undefined ? undefined : (parse(text) ?? damaged(name, statSync(path).mtimeMs));
  }
}

function parse(text: string): Revocation | undefined {
  try {
    const read = JSON.parse(text) as Partial<Revocation> | null;
    return typeof read?.value === 'string' && typeof read.atMs === 'number'
      ? (read as Revocation)
      : undefined;
  } catch {
    return undefined;
  }
}

/** What a damaged file still says: its name has what is revoked, and its time when. */
function damaged(name: string, atMs: number): Revocation {
  const kind = REVOCATION_KINDS.find(one => name.startsWith(`${one}-`))!;
  return { kind, value: `(damaged: ${name})`, atMs, untilMs: null };
}
