import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  type DataDirIdentity,
  type DataDirRecord,
  foreignDataDir,
  groupKeys,
  identityFile,
  parseDataDirRecord,
  placeOf,
  readDataDirIdentity,
} from '@onewriter/protocol';
import { defineScript, type RedisLink } from '../queue/redis-link.ts';
import { CLAIM_DATA_DIR } from './lua-scripts.ts';

/*
 * A broker claims its group for its data directory before it stands by, before and after it acquires the lease, and every few
 * seconds while it leads: a Redis that was wiped belongs to the first broker that claims it, and the other ends (ADR 0028).
 *
 *   identity file   group in Redis       what happens
 *   there           the same, or none    claimed; a directory that was moved is found at its new place
 *   there           another              MISCONFIGURED
 *   missing         none                 an identity is made, and the group claimed
 *   missing         this very place      made with the group's id: only the file was lost
 *   missing         another place        MISCONFIGURED: an empty disk, a wrong path
 */

/** See claim-data-dir.lua. */
export const claimDataDir = defineScript(1, CLAIM_DATA_DIR);

/** The claim of a data directory to its group. */
export class DataDirClaim {
  readonly #link: RedisLink;
  readonly #group: string;
  readonly #dataDir: string;
  readonly #key: string;
  #identity: DataDirIdentity | undefined;

  constructor(link: RedisLink, group: string, dataDir: string) {
    this.#link = link;
    this.#group = group;
    this.#dataDir = dataDir;
    this.#key = groupKeys(group).dataDir;
  }

  /** The directory's id; '' before the first {@link claim}. */
  get id(): string {
    return this.#identity?.id ?? '';
  }

  /** Claims the group. Repeatable. @throws OnewriterError MISCONFIGURED; Error of Redis or of the file system */
  async claim(): Promise<void> {
    this.#identity ??= await this.#open();
    const { id } = this.#identity;
    const record: DataDirRecord = { id, ...placeOf(this.#dataDir) };
    const answer = await this.#link.run(claimDataDir, [this.#key, id, JSON.stringify(record)]);
    const owner = parseDataDirRecord(String(answer));
    if (owner !== undefined) throw foreignDataDir(this.#group, this.#dataDir, owner);
  }

  async #open(): Promise<DataDirIdentity> {
    const known = readDataDirIdentity(this.#dataDir);
    if (known !== undefined) return known;
    const owner = parseDataDirRecord((await this.#link.call('GET', this.#key)) as string | null);
    if (owner === undefined) return makeIdentity(this.#dataDir, randomUUID());
    const { host, path } = placeOf(this.#dataDir);
    // Here a broker has led before; an empty disk in this place has no epoch file.
    const isSame = owner.host === host && owner.path === path && existsSync(`${this.#dataDir}/epoch`);
    if (isSame) return makeIdentity(this.#dataDir, owner.id);
    throw foreignDataDir(this.#group, this.#dataDir, owner);
  }
}

/** Puts an identity into a directory that has none; if another broker was faster, returns that one's. */
export function makeIdentity(dataDir: string, id: string): DataDirIdentity {
  const path = identityFile(dataDir);
  const temporary = `${path}.${process.pid}.tmp`;
  mkdirSync(dataDir, { recursive: true });
  const file = openSync(temporary, 'w', 0o666);
  try {
    writeSync(
      file,
      `${JSON.stringify({ id, created: new Date().toISOString() } satisfies DataDirIdentity)}\n`,
    );
    fsyncSync(file);
    // A name appears with its content or not at all, and only once.
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    closeSync(file);
    rmSync(temporary, { force: true });
  }
  flushFolder(dirname(path));
  return readDataDirIdentity(dataDir)!;
}

function flushFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
