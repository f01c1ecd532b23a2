import { statSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { withLog } from '../file/log-check.ts';
import type { FileMark, LogPosition } from './capture-messages.ts';
import type { CaptureSink } from './capture-sink.ts';
import { NO_LOG, readPosition } from './log-frames.ts';

/** A file whose log lay in the main file when it was closed. */
export interface ClosedFile {
  readonly tenant: string;
  readonly path: string;
}

/** The file by `stat` only: a descriptor of it must not be closed here. */
export function markOf(path: string): FileMark | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  const { ino, size, mtimeNs, ctimeNs } = stats;
  return {
    ino: String(ino),
    size: Number(size),
    mtimeNs: String(mtimeNs),
    ctimeNs: String(ctimeNs),
  };
}

/**
 * Says that a file was closed with all of its log in it. As long as its mark is the same, nothing has changed it.
 * Where a log is left it says nothing: its frames show where the next opening continues.
 */
export function noteClosed({ tenant, path }: ClosedFile, to: LogPosition, sink: CaptureSink): void {
  if (to === NO_LOG) return;
  const log = statSync(`${path}-wal`, { throwIfNoEntry: false });
  const mark = markOf(path);
  if (mark === undefined || (log?.size ?? 0) > 0) return;
  sink.post({ kind: 'closed', tenant, to, mark });
}

/** The log of a file that was closed for another: all of it was sent. */
export class LeftCapture {
  readonly #file: ClosedFile;
  readonly to: LogPosition;
  readonly #pageSize: number;
  readonly #sink: CaptureSink;

  constructor(file: ClosedFile, to: LogPosition, pageSize: number, sink: CaptureSink) {
    this.#file = file;
    this.to = to;
    this.#pageSize = pageSize;
    this.#sink = sink;
  }

  /** Whether the log still ends there. Otherwise another thread has the tenant, and commits that are not sent. */
  isAtEnd(db: Database.Database): boolean {
    const row = db.prepare<[], readonly [number, number, number]>('PRAGMA wal_checkpoint(NOOP)').raw(true);
    const [, frames] = row.get()!;
    const { salts, frame, checksum } = this.to;
    if (frames !== frame) return false;
    const end = withLog(`${this.#file.path}-wal`, log => readPosition(log, frame, this.#pageSize));
    return end?.salts === salts && end.checksum === checksum;
  }

  /** It was written back from there, and the connection is closed. */
  closed(): void {
    noteClosed(this.#file, this.to, this.#sink);
  }
}
