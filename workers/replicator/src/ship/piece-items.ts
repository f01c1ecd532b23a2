import { mergeSummaries, type WriteSummary } from '@onewriter/protocol';
import type { CapturedCommit, CapturedLog, LogPosition } from '@onewriter/writer';
import type { SegmentCommit } from '../format/segment-body.ts';
import { FRAME_HEADER_BYTES, type KnownEnd } from './continues.ts';
import type { FirstItem, PagesItem, UnplacedEntry } from './pack-item.ts';

/** The newest commit of a tenant. */
export type KnownCommit = KnownEnd & Pick<UnplacedEntry, 'epoch' | 'lastSeq' | 'lastMs' | 'pages'>;

/** Of a branch: no piece continues from it. */
export const NOTHING: Omit<KnownCommit, 'pos'> = Object.freeze({
  ...{ end: { salts: '', frame: 0, checksum: '' }, incarnation: '', pageSize: 0, epoch: 0 },
  ...{ lastSeq: 0, lastMs: 0, pages: 0 },
});

/** Numbers of the newest commit before. */
interface CommitNumbers {
  readonly lastSeq: number;
  readonly epoch: number;
}

/** Commits of another connection have no numbers: no lower ones than the commit before. */
export function numberCommits(
  commits: readonly CapturedCommit[],
  before: CommitNumbers = { lastSeq: 0, epoch: 0 },
): readonly CapturedCommit[] {
  let { lastSeq: commitSeq, epoch } = before;
  return commits.map(commit => {
    if (commit.commitSeq > 0) ({ commitSeq } = commit);
    if (commit.epoch > 0) ({ epoch } = commit);
    return { ...commit, commitSeq, epoch };
  });
}

/** The commits of a piece up to one after which it has all pages. @param pos of the last of them */
export function toFirstItem(
  piece: CapturedLog,
  commits: readonly CapturedCommit[],
  pos: number,
  options: { readonly sinceMs: number | undefined; readonly roomBytes: number },
): FirstItem {
  const [first, last] = [commits[0]!, commits.at(-1)!];
  const { order, incarnation, pageSize, frames, unflushed } = piece;
  return {
    ...{ kind: 'first', order, incarnation, pageSize, frames, unflushed },
    end: endAfter(piece, last.frames),
    sinceMs: options.sinceMs ?? first.atMs,
    roomBytes: options.roomBytes,
    writes: writesOf(commits),
    ...{ count: last.frames, commit: toSegmentCommit(last, last.frames, pos), commits: commits.length },
    ...{ firstSeq: first.commitSeq, firstMs: first.atMs },
  };
}

/** The commits of a piece behind its first `skip` frames. @param pos of the commit before them */
export function toPagesItem(
  piece: CapturedLog,
  skip: number,
  commits: readonly CapturedCommit[],
  pos: number,
): PagesItem {
  const { order, incarnation, pageSize, frames, unflushed } = piece;
  return {
    ...{ kind: 'pages', order, incarnation, pageSize, frames, unflushed },
    end: piece.to,
    sinceMs: commits[0]!.atMs,
    roomBytes: frames.byteLength,
    writes: writesOf(commits),
    skip,
    commits: commits.map((commit, index) => toSegmentCommit(commit, commit.frames - skip, pos + 1 + index)),
  };
}

/** As its body has it: who wrote is in the index. */
function toSegmentCommit(
  { commitSeq, atMs, epoch, pages }: CapturedCommit,
  frames: number,
  pos: number,
): SegmentCommit {
  return { pos, commitSeq, atMs, epoch, pages, frames };
}

function writesOf(commits: readonly CapturedCommit[]): WriteSummary | undefined {
  return mergeSummaries(commits.map(({ writes }) => writes));
}

/** An entry without pages: the tenant ends, or begins as another was. */
export function toMark(
  kind: 'deleted' | 'base',
  tenant: string,
  known: KnownCommit,
  nowMs: number,
): UnplacedEntry {
  const { pos, end, epoch, lastSeq, pageSize, pages, incarnation } = known;
  return {
    ...{ tenant, kind, min: pos, max: pos, key: '', commits: 0, plainBytes: 0 },
    ...{ firstSeq: lastSeq, lastSeq, firstMs: nowMs, lastMs: nowMs },
    ...{ epoch, pageSize, pages, incarnation, end },
  };
}

/** The place in the log after so many frames of a piece. */
function endAfter({ frames, from, pageSize }: CapturedLog, count: number): LogPosition {
  const at = count * (FRAME_HEADER_BYTES + pageSize) - pageSize - 8;
  return {
    salts: from.salts,
    frame: from.frame + count,
    checksum: Buffer.from(frames).toString('hex', at, at + 8),
  };
}
