import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { CaptureMessage, FileMark, LogPosition } from '@onewriter/writer';
import Database from 'better-sqlite3';

const LOG_HEADER = 32;
const FRAME_HEADER = 24;
const NO_LOG: LogPosition = { salts: '', frame: 0, checksum: '' };

/** The messages of a test's files are numbered together, as those of a broker. */
let order = 0n;

export function markOf(path: string): FileMark {
  const { ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
  return { ino: `${ino}`, size: Number(size), mtimeNs: `${mtimeNs}`, ctimeNs: `${ctimeNs}` };
}

/** A real file, written and captured as a writer thread does it. */
export class CapturedFile {
  readonly tenant: string;
  readonly path: string;
  readonly #send: (message: CaptureMessage) => void;
  #db: Database.Database | undefined;
  #commits: { readonly commitSeq: number; readonly atMs: number; readonly epoch: number }[] = [];
  #before = NO_LOG;
  #mark: FileMark | undefined;
  /** Where the next piece begins. */
  #at = NO_LOG;
  commitSeq = 0;

  constructor(tenant: string, path: string, send: (message: CaptureMessage) => void) {
    this.tenant = tenant;
    this.path = path;
    this.#send = send;
    mkdirSync(dirname(path), { recursive: true });
  }

  get db(): Database.Database {
    if (this.#db === undefined) {
      this.#db = new Database(this.path);
      this.#db.pragma('journal_mode = WAL');
      this.#db.pragma('synchronous = OFF');
      this.#db.pragma('wal_autocheckpoint = 0');
      const log = this.#log();
      this.#before = log?.end ?? NO_LOG;
      this.#at = { salts: this.#before.salts, frame: 0, checksum: '' };
      this.#mark = markOf(this.path);
      // Commits of before the opening have no numbers.
      this.#commits = log?.ends.map(() => ({ commitSeq: 0, atMs: 1, epoch: 0 })) ?? [];
    }
    return this.#db;
  }

  get isOpen(): boolean {
    return this.#db !== undefined;
  }

  commit(sql: string): void {
    this.db.exec(sql);
    this.commitSeq++;
    this.#commits.push({ commitSeq: this.commitSeq, atMs: Date.now(), epoch: 1 });
  }

  capture(urgent = false): void {
    const log = this.#log();
    if (this.#commits.length === 0 || log === undefined) return;
    const { end, pageSize } = log;
    if (end.salts !== this.#at.salts) this.#at = { salts: end.salts, frame: 0, checksum: '' };
    const first = this.#at.frame;
    const ends = log.ends.filter(({ frame }) => frame > first);
    const frameBytes = FRAME_HEADER + pageSize;
    this.#send({
      ...{ kind: 'log', order: ++order, tenant: this.tenant, incarnation: '', pageSize },
      ...{ before: this.#before, mark: this.#mark, from: this.#at, to: end },
      commits: ends.map(({ frame, pages }, index) => ({
        frames: frame - first,
        pages,
        ...this.#commits[index]!,
      })),
      frames: Uint8Array.from(log.frames.subarray(first * frameBytes)).buffer,
      urgent,
    });
    this.#commits = [];
    this.#before = this.#at = end;
    this.#mark = undefined;
  }

  /** All of the log into the file; the next commit begins the log again. */
  checkpoint(): void {
    this.capture();
    this.db.pragma('wal_checkpoint(RESTART)');
  }

  close(): void {
    if (this.#db === undefined) return;
    this.capture();
    this.#db.close();
    this.#db = undefined;
    this.#send({
      ...{ kind: 'closed', order: ++order, tenant: this.tenant },
      ...{ to: this.#before, mark: markOf(this.path) },
    });
  }

  /** As after a SIGKILL: the file and its log stay as they are. */
  kill(): void {
    if (this.#db === undefined) return;
    for (const suffix of ['', '-wal']) copyFileSync(`${this.path}${suffix}`, `${this.path}.copy${suffix}`);
    this.#db.close();
    this.#db = undefined;
    for (const suffix of ['', '-wal']) copyFileSync(`${this.path}.copy${suffix}`, `${this.path}${suffix}`);
  }

  /** A whole copy of the file with its log in it, made beside it. */
  image(): Buffer {
    const copy = `${this.path}.image`;
    copyFileSync(this.path, copy);
    if (existsSync(`${this.path}-wal`)) copyFileSync(`${this.path}-wal`, `${copy}-wal`);
    const db = new Database(copy);
    db.pragma('wal_checkpoint(TRUNCATE)');
    db.close();
    return readFileSync(copy);
  }

  /** Where the log ends. */
  get end(): LogPosition {
    return this.#log()?.end ?? NO_LOG;
  }

  /** The whole commits of the log; undefined where there are none. */
  #log(): LogContents | undefined {
    const log = existsSync(`${this.path}-wal`) ? readFileSync(`${this.path}-wal`) : Buffer.alloc(0);
    if (log.length < LOG_HEADER) return undefined;
    const pageSize = log.readUInt32BE(8);
    const frameBytes = FRAME_HEADER + pageSize;
    const salts = log.toString('hex', 16, 24);
    const ends: { frame: number; pages: number }[] = [];
    let checksum = '';
    for (let frame = 1; LOG_HEADER + frame * frameBytes <= log.length; frame++) {
      const at = LOG_HEADER + (frame - 1) * frameBytes;
      if (log.toString('hex', at + 8, at + 16) !== salts) break;
      const pages = log.readUInt32BE(at + 4);
      if (pages === 0) continue;
      ends.push({ frame, pages });
      checksum = log.toString('hex', at + 16, at + 24);
    }
    const last = ends.at(-1);
    if (last === undefined) return undefined;
    const frames = log.subarray(LOG_HEADER, LOG_HEADER + last.frame * frameBytes);
    return { frames, ends, end: { salts, frame: last.frame, checksum }, pageSize };
  }
}

interface LogContents {
  readonly frames: Buffer;
  readonly ends: readonly { readonly frame: number; readonly pages: number }[];
  readonly end: LogPosition;
  readonly pageSize: number;
}
