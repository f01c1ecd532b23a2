import type { CapturedLog, CaptureMessage, FileMark, LogPosition } from '@onewriter/writer';

/*
 * Whether a piece of a tenant's log continues from what is known of the tenant. A wrong "yes" makes a copy that never was; a wrong
 * "no" costs a full segment. So each yes rests on what SQLite itself would check: the salts of a log and its running checksum,
 * or, where the
 * log is a new one, on the main file being untouched since it was closed in order.
 */

/** Bytes before the page of a frame, and where in them its size (not 0: a commit ends here) and its checksum lie. */
export const FRAME_HEADER_BYTES = 24;
const FRAME_SIZE_AT = 4;
const FRAME_CHECKSUM_AT = 16;
const CHECKSUM_BYTES = 8;

/** Up to where a tenant is known. */
export interface KnownEnd {
  readonly pos: number;
  readonly end: LogPosition;
  readonly incarnation: string;
  readonly pageSize: number;
}

/** What a clean close leaves in `<dataDir>/replica/closed/<tenant>.json`. */
export interface CloseNote {
  readonly pos: number;
  /** Where the log ended. It is in the main file since, and may be gone. */
  readonly to: LogPosition;
  /** The main file after it. */
  readonly mark: FileMark;
}

/** Why a piece does not continue: for counts, the log and people. */
export type GapReason =
  /** The tenant's file is another one. */
  | 'another file'
  /** The file lacks commits that are stored: an older copy was put in its place, or the disk lost them. */
  | 'file went back'
  /** Commits between are missing: the log was written back by another process, or the file was changed without a log. */
  | 'commits missing'
  /** The store changed what was stored. */
  | 'damaged';

export type Continuity =
  /** The first `skip` frames of the piece are known; all of them where it has nothing new. */
  | { readonly kind: 'continues'; readonly skip: number }
  | { readonly kind: 'gap'; readonly reason: GapReason };

/** @param note of the last clean close, where there is one */
export function continues(known: KnownEnd, piece: CapturedLog, note?: CloseNote | undefined): Continuity {
  const { end, incarnation } = known;
  const { before, from, to } = piece;
  const isSameName = incarnation === piece.incarnation;
  if (known.pageSize !== piece.pageSize) return { kind: 'gap', reason: 'another file' };
  if (isSameName && end.salts !== '' && end.salts === from.salts) {
    const skip = end.frame - from.frame;
    // A later piece has what is known, and shows whether it is the same.
    if (end.frame > to.frame && end.frame <= (piece.moreTo ?? 0)) {
      return { kind: 'continues', skip: to.frame - from.frame };
    }
    if (skip >= 0 && end.frame <= to.frame) {
      return isSamePlace(end, piece, skip)
        ? { kind: 'continues', skip }
        : { kind: 'gap', reason: 'commits missing' };
    }
    return { kind: 'gap', reason: skip < 0 ? 'commits missing' : 'file went back' };
  }
  // A log begins at its first frame: what is between is in the main file.
  const isLogWhole = from.frame === 0;
  // Restored on another machine, it has its first name again.
  if (isLogWhole && isUntouched(known, piece.mark, note)) return { kind: 'continues', skip: 0 };
  if (!isSameName) return { kind: 'gap', reason: 'another file' };
  const goesOn = isLogWhole && before.salts !== '' && isSamePosition(end, before);
  return goesOn ? { kind: 'continues', skip: 0 } : { kind: 'gap', reason: 'commits missing' };
}

/** Whether a segment of a whole file surely has what a message is about. @param end of the log when the file was read */
export function isInside(message: CaptureMessage, end: LogPosition): boolean {
  if (message.kind === 'closed') return true;
  return message.kind === 'log' && message.to.salts === end.salts && message.to.frame <= end.frame;
}

export function isSamePosition(one: LogPosition, other: LogPosition): boolean {
  return one.salts === other.salts && one.frame === other.frame && one.checksum === other.checksum;
}

/** Whether the log had the same frames up to there, and a commit ended there. */
function isSamePlace(end: LogPosition, { frames, from, pageSize }: CapturedLog, skip: number): boolean {
  if (skip === 0) return end.checksum === from.checksum;
  const at = (skip - 1) * (FRAME_HEADER_BYTES + pageSize);
  const header = Buffer.from(frames, at, FRAME_HEADER_BYTES);
  return (
    header.readUInt32BE(FRAME_SIZE_AT) !== 0 &&
    header.toString('hex', FRAME_CHECKSUM_AT, FRAME_CHECKSUM_AT + CHECKSUM_BYTES) === end.checksum
  );
}

/** Whether the main file is as the last clean close left it, with all that is known in it: the whole log came after that. */
function isUntouched(known: KnownEnd, mark: FileMark | undefined, note: CloseNote | undefined): boolean {
  if (mark === undefined || note === undefined) return false;
  return note.pos === known.pos && isSamePosition(note.to, known.end) && isSameMark(note.mark, mark);
}

export function isSameMark(one: FileMark, other: FileMark): boolean {
  return (
    one.ino === other.ino &&
    one.size === other.size &&
    one.mtimeNs === other.mtimeNs &&
    one.ctimeNs === other.ctimeNs
  );
}
