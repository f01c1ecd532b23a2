import type { CapturedLog } from '@onewriter/writer';
import { FRAME_HEADER_BYTES } from './continues.ts';

/** A full segment up to this size lies in its pack; a larger one in parts of its own. */
export const MAX_FULL_IN_PACK = 1024 * 1024;
/** The page that has this byte holds no data: SQLite locks there. */
const LOCK_BYTE = 2 ** 30;

/** Number of the page that is never used. */
export function lockPage(pageSize: number): number {
  return LOCK_BYTE / pageSize + 1;
}

/**
 * Finds the first commit of a piece after which the piece has all pages of the file, as that of a tenant that was made just now.
 * Nothing needs to be known of such a tenant.
 *
 * @returns index of the commit; -1: there is none, or the file is too large for a pack
 */
export function findFirstFull({ commits, frames, pageSize }: CapturedLog): number {
  const seen = new Set<number>();
  const bytes = Buffer.from(frames);
  let done = 0;
  for (const [index, commit] of commits.entries()) {
    for (; done < commit.frames; done++) seen.add(bytes.readUInt32BE(done * (FRAME_HEADER_BYTES + pageSize)));
    const { pages } = commit;
    if (pages * pageSize > MAX_FULL_IN_PACK) return -1;
    if (hasAll(seen, pages)) return index;
  }
  return -1;
}

function hasAll(seen: ReadonlySet<number>, pages: number): boolean {
  if (seen.size < pages) return false;
  for (let number = 1; number <= pages; number++) if (!seen.has(number)) return false;
  return true;
}
