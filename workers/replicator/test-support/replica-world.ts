import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { onTestFinished } from 'vitest';
import { numbersOf } from '../src/chain/blocks.ts';
import { HEAD_KEY, type Head, readHead } from '../src/chain/head.ts';
import { compactOnce } from '../src/compact/compact-once.ts';
import type { PackId, SegmentEntry } from '../src/format/entry.ts';
import { packKey } from '../src/format/entry.ts';
import { Keyring } from '../src/format/keyring.ts';
import type { PackedSegment } from '../src/format/pack.ts';
import { encodeBody, type PageSource, type SegmentCommit } from '../src/format/segment-body.ts';
import type { ObjectStore } from '../src/store/object-store.ts';
import { MemoryStore } from './memory-store.ts';
import { putPack } from './put-pack.ts';

const LOG_HEADER = 32;
const FRAME_HEADER = 24;

/** A database with a log, whose commits are read frame by frame and put into packs, as a broker would. */
export class ReplicaWorld {
  readonly store: ObjectStore;
  readonly keys: Keyring;
  /** Gone after the test. */
  readonly folder = mkdtempSync(join(tmpdir(), 'onewriter-replica-'));
  readonly file: string;
  readonly db: Database.Database;
  readonly tenant: string;
  readonly pageSize: number;
  pos = 0;
  /** Number of the next pack. */
  next = 1;
  term = 1;
  #logged = 0;
  #pending: { readonly commits: SegmentCommit[]; readonly pages: PageSource[] } = { commits: [], pages: [] };

  constructor({
    tenant = 'acme',
    pageSize = 4_096,
    store = new MemoryStore() as ObjectStore,
    masterKeys = [] as string[],
    file = undefined as string | undefined,
  } = {}) {
    onTestFinished(() => {
      this.db.close();
      rmSync(this.folder, { recursive: true, force: true });
    });
    this.file = file ?? join(this.folder, 'live.db');
    this.tenant = tenant;
    this.pageSize = pageSize;
    this.store = store;
    this.keys = new Keyring({ masterKeys, keys: 'one', store });
    this.db = new Database(this.file);
    this.db.pragma(`page_size = ${pageSize}`);
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('synchronous = OFF');
    this.db.pragma('wal_autocheckpoint = 0');
  }

  /** Commits, and notes the frames of the commit. */
  commit(work: string | ((db: Database.Database) => void)): void {
    if (typeof work === 'string') this.db.exec(work);
    else this.db.transaction(() => work(this.db)).immediate();
    this.#capture();
  }

  /** Commits in transactions of its own. */
  direct(work: (db: Database.Database) => void): void {
    work(this.db);
    this.#capture();
  }

  /** Writes the log back, so that the next commit begins it again. */
  checkpoint(): void {
    this.db.pragma('wal_checkpoint(TRUNCATE)');
    this.#logged = 0;
  }

  /** The file with all of its log written back. */
  bytes(): Buffer {
    this.checkpoint();
    return readFileSync(this.file);
  }

  /** A pack with all that was committed since the last one; a full segment at first. */
  async ship(kind: 'pages' | 'full' = this.next === 1 ? 'full' : 'pages'): Promise<void> {
    const { commits, pages } = this.#pending;
    this.dropPending();
    const segments: PackedSegment[] = [];
    if (kind === 'full') segments.push(await this.#full());
    else if (commits.length > 0) segments.push(await this.#segment('pages', commits, pages));
    await this.pack(segments);
  }

  /** Forgets the commits that are in no pack: what was read whole has them. */
  dropPending(): void {
    this.#pending = { commits: [], pages: [] };
  }

  /** A pack of any segments. */
  async pack(segments: readonly (PackedSegment | SegmentEntry)[]): Promise<void> {
    await putPack(this.store, { level: 0, number: this.next }, segments, this.term);
    this.next++;
  }

  /** An entry without a body. */
  entry(fields: Partial<SegmentEntry> & Pick<SegmentEntry, 'kind'>): SegmentEntry {
    const commit = {
      pos: this.pos,
      commitSeq: this.pos,
      atMs: this.pos * 1_000,
      epoch: 1,
      pages: 0,
      frames: 0,
    };
    return {
      ...entryOf(this.tenant, this.pageSize, fields.kind, [commit], 0),
      offset: 0,
      length: 0,
      sha256: '',
      ...fields,
    };
  }

  /** Makes all packs of the levels that can be made, and a catalogue with each of level 3; nothing expires. */
  async compact(): Promise<void> {
    const { store, keys, term } = this;
    await compactOnce({ store, keys, term, retentionMs: Number.POSITIVE_INFINITY, nowMs: 0 });
  }

  async putHead(head: Head): Promise<void> {
    await this.store.put(HEAD_KEY, Buffer.from(JSON.stringify(head)));
  }

  /** Removes the packs of a level up to a number, as if they had expired. */
  async expire(level: PackId['level'], to: number): Promise<void> {
    const { head } = await readHead(this.store);
    const { last } = numbersOf({ level, number: to });
    await this.putHead({ ...head, kept: { ...head.kept, [level]: last + 1 } });
    await this.store.delete(Array.from({ length: to }, (_, index) => packKey({ level, number: index + 1 })));
  }

  #capture(): void {
    const log = readFileSync(`${this.file}-wal`);
    const frameBytes = FRAME_HEADER + this.pageSize;
    const salts = log.subarray(16, 24);
    for (let at = LOG_HEADER + this.#logged * frameBytes; at + frameBytes <= log.length; at += frameBytes) {
      if (!log.subarray(at + 8, at + 16).equals(salts)) break;
      this.#logged++;
      const bytes = Buffer.from(log.subarray(at + FRAME_HEADER, at + frameBytes));
      this.#pending.pages.push({ number: log.readUInt32BE(at), bytes });
      const pages = log.readUInt32BE(at + 4);
      if (pages === 0) continue;
      this.pos++;
      const { pos } = this;
      this.#pending.commits.push({
        pos,
        commitSeq: pos,
        atMs: pos * 1_000,
        epoch: 1,
        pages,
        frames: this.#pending.pages.length,
      });
    }
  }

  async #full(): Promise<PackedSegment> {
    const bytes = this.bytes();
    const count = bytes.length / this.pageSize;
    const pages = Array.from({ length: count }, (_, index) => ({
      number: index + 1,
      bytes: bytes.subarray(index * this.pageSize, (index + 1) * this.pageSize),
    }));
    const { pos } = this;
    const commit = { pos, commitSeq: pos, atMs: pos * 1_000, epoch: 1, pages: count, frames: count };
    return this.#segment('full', [commit], pages);
  }

  async #segment(
    kind: 'pages' | 'full',
    commits: readonly SegmentCommit[],
    pages: readonly PageSource[],
  ): Promise<PackedSegment> {
    const { tenant, pageSize } = this;
    const plain = await encodeBody({ v: 1, tenant, pageSize, commits }, pages);
    const entry = entryOf(tenant, pageSize, kind, commits, pages.length * pageSize);
    const { body, key } = await this.keys.seal(entry, plain);
    return { entry: { ...entry, key }, body };
  }
}

function entryOf(
  tenant: string,
  pageSize: number,
  kind: SegmentEntry['kind'],
  commits: readonly SegmentCommit[],
  plainBytes: number,
): Omit<SegmentEntry, 'offset' | 'length' | 'sha256'> {
  const [first, last] = [commits[0]!, commits.at(-1)!];
  return {
    tenant,
    kind,
    min: first.pos,
    max: last.pos,
    key: '',
    firstSeq: first.commitSeq,
    lastSeq: last.commitSeq,
    firstMs: first.atMs,
    lastMs: last.atMs,
    epoch: 1,
    pageSize,
    pages: last.pages,
    incarnation: '',
    end: { salts: '', frame: 0, checksum: '' },
    commits: commits.length,
    plainBytes,
  };
}
