import type { CapturedLog } from '@onewriter/writer';

/** Commits that are in no piece to be stored: a full segment will have them, or they come behind it. */
export interface Apart {
  readonly sinceMs: number;
  readonly commits: number;
  readonly bytes: number;
}

export function addApart(before: Apart | undefined, sinceMs: number, commits = 0, bytes = 0): Apart {
  if (before === undefined) return { sinceMs, commits, bytes };
  return {
    sinceMs: Math.min(before.sinceMs, sinceMs),
    commits: before.commits + commits,
    bytes: before.bytes + bytes,
  };
}

export function addPiece(before: Apart | undefined, { commits, frames }: CapturedLog): Apart {
  return addApart(before, commits[0]?.atMs ?? 0, commits.length, frames.byteLength);
}
