import { closeSync, fstatSync, openSync } from 'node:fs';
import type { FileMark, LogPosition } from './capture-messages.ts';
import { markOf } from './closed-file.ts';
import { findFormerEnd } from './former-log.ts';
import { NO_LOG, readPosition } from './log-frames.ts';

/** Where the capture of a log begins: all of it belongs to others, who made it before. */
export interface LogBeginning {
  /** What was there before the first piece. */
  readonly before: LogPosition;
  /** Where the first piece begins. */
  readonly at: LogPosition;
  /** Frames of others' commits. */
  readonly othersTo: number;
  /** When they were written; ms since the epoch. */
  readonly othersAtMs: number;
  readonly mark: FileMark | undefined;
}

export interface CapturedLogFile {
  /** The file itself; its log lies beside it. */
  readonly path: string;
  readonly pageSize: number;
  /** Of the log, as SQLite counts; undefined: not known now. */
  readonly frames: number | undefined;
}

/** @param known up to where the log was sent, if it is still that log */
export function findBeginning(
  { path, pageSize, frames }: CapturedLogFile,
  known: LogPosition | undefined,
): LogBeginning {
  // No known place equals this one, so that what follows is not believed to continue anything.
  const none = { before: NO_LOG, at: NO_LOG, othersTo: 0, othersAtMs: 0, mark: undefined };
  if (frames === undefined) return none;
  const found = withLogIfThere(`${path}-wal`, (file): LogBeginning | undefined => {
    // The former process may have died before it captured the first commit of this log.
    const former = findFormerEnd(file, pageSize);
    if (frames === 0) return { ...none, before: former ?? NO_LOG };
    const othersAtMs = Math.round(fstatSync(file).mtimeMs);
    const end = readPosition(file, frames, pageSize);
    if (end === undefined) return undefined;
    const isKnown =
      known !== undefined &&
      known.salts === end.salts &&
      known.frame > 0 &&
      known.frame <= frames &&
      readPosition(file, known.frame, pageSize)?.checksum === known.checksum;
    const rest = { othersTo: frames, othersAtMs, mark: undefined };
    if (isKnown) return { ...rest, before: known, at: known };
    return { ...rest, before: former ?? end, at: { salts: end.salts, frame: 0, checksum: '' } };
  });
  const beginning = found ?? none;
  // Where the main file is as the last close left it, the whole log came after that.
  const isWhole = found === undefined ? frames === 0 : found.at.frame === 0;
  return isWhole ? { ...beginning, mark: markOf(path) } : beginning;
}

/** Undefined where there is no log any more. */
export function withLogIfThere<Result>(path: string, use: (file: number) => Result): Result | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return use(file);
  } finally {
    closeSync(file);
  }
}
