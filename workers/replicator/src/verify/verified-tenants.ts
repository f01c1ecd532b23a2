import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readFileIfThere } from '@onewriter/protocol';

/** What the last rehearsal of a tenant found. */
export interface Verified {
  readonly ok: boolean;
  /** For people; bounded. */
  readonly problems: readonly string[];
  /** What was restored. */
  readonly pos: number;
  readonly commitSeq: number;
  readonly atMs: number;
}

interface VerifiedFile {
  readonly format: 1;
  /** When rehearsals were switched on. */
  readonly sinceMs: number;
  readonly tenants: Readonly<Record<string, Verified>>;
}

/** The file is written so often at most: what a kill loses is rehearsed again. */
const SAVE_EVERY_MS = 60_000;
const MAX_PROBLEMS = 3;
const MAX_PROBLEM_LENGTH = 300;

/**
 * What was last found of each tenant, also by a broker before: `<dataDir>/replica/verified.json`. A file that cannot be read counts as
 * none: all tenants are rehearsed again.
 */
export class VerifiedTenants {
  readonly #dataDir: string;
  readonly #sinceMs: number;
  readonly #tenants: Map<string, Verified>;
  #changed: boolean;
  #savedMs = 0;

  constructor(dataDir: string, nowMs: number) {
    this.#dataDir = dataDir;
    const file = readVerifiedFile(dataDir);
    this.#sinceMs = file?.sinceMs ?? nowMs;
    this.#changed = file === undefined;
    this.#tenants = new Map(Object.entries(file?.tenants ?? {}));
  }

  /** When rehearsals were switched on, ms since the epoch. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  get all(): ReadonlyMap<string, Verified> {
    return this.#tenants;
  }

  note(tenant: string, verified: Verified): void {
    const problems = verified.problems
      .slice(0, MAX_PROBLEMS)
      .map(problem => problem.slice(0, MAX_PROBLEM_LENGTH));
    this.#tenants.set(tenant, { ...verified, problems });
    this.#changed = true;
  }

  /** Another file is in its place, or it is gone. */
  forget(tenant: string): void {
    if (this.#tenants.delete(tenant)) this.#changed = true;
  }

  /** Writes the file where something changed, not too often. @throws Error of the file system */
  save(nowMs: number, atOnce = false): void {
    if (!this.#changed || (!atOnce && nowMs - this.#savedMs < SAVE_EVERY_MS)) return;
    this.#savedMs = nowMs;
    const file: VerifiedFile = {
      format: 1,
      sinceMs: this.#sinceMs,
      tenants: Object.fromEntries(this.#tenants),
    };
    mkdirSync(join(this.#dataDir, 'replica'), { recursive: true });
    const path = pathIn(this.#dataDir);
    const draft = `${path}.draft`;
    writeFileSync(draft, JSON.stringify(file));
    renameSync(draft, path);
    this.#changed = false;
  }
}

/** What a broker last found of a tenant; up to a minute old. @throws Error of the file system */
export function readVerified(dataDir: string, tenant: string): Verified | undefined {
  const tenants = readVerifiedFile(dataDir)?.tenants;
  return tenants !== undefined && Object.hasOwn(tenants, tenant) ? tenants[tenant] : undefined;
}

function readVerifiedFile(dataDir: string): VerifiedFile | undefined {
  const text = readFileIfThere(pathIn(dataDir));
  if (text === undefined) return undefined;
  try {
    const file = JSON.parse(text) as Partial<VerifiedFile>;
    return file.format === 1 ? (file as VerifiedFile) : undefined;
  } catch {
    return undefined;
  }
}

function pathIn(dataDir: string): string {
  return join(dataDir, 'replica', 'verified.json');
}
