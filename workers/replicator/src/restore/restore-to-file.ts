import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import { readAhead } from '../chain/read-ahead.ts';
import { type BodyRef, bodiesOf, bytesOf, type ReadBody, readBody } from '../chain/read-body.ts';
import type { PlannedSegment, ReplicaReader, RestorePlan } from '../chain/replica-reader.ts';
import { PageFile } from './page-file.ts';

/*
 * Puts a file together out of segments: read at the same time, written one after the other, so that later pages take the place of
 * earlier ones. Nothing is kept of an attempt that failed: it begins again.
 */

/** Bodies that are read at the same time, and bytes of them in memory, stored and expanded. */
const MAX_CALLS = 32;
const MAX_BYTES = 96 * 1024 * 1024;

export interface RestoreFileOptions {
  readonly signal?: AbortSignal | undefined;
  /** Stored bytes that are done. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Writes the file of a plan, durably.
 * @param draft must not exist; it does not after an error, either
 * @throws OnewriterError REPLICA_UNAVAILABLE; REPLICA_REFUSED where something is damaged, or is not there; ABORTED
 */
export async function restoreToFile(
  reader: Pick<ReplicaReader, 'store' | 'keys'>,
  plan: Pick<RestorePlan, 'tenant' | 'segments'>,
  draft: string,
  options: RestoreFileOptions = {},
): Promise<void> {
  const { tenant, segments } = plan;
  assertChain(tenant, segments);
  const [full] = segments;
  const file = new PageFile(draft, full!.entry.pageSize);
  try {
    await writeSegments(reader, segments, file, options);
    file.finish(tenant);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  } finally {
    file.close();
  }
}

interface PlannedBody extends BodyRef {
  readonly segment: PlannedSegment;
}

async function writeSegments(
  { store, keys }: Pick<ReplicaReader, 'store' | 'keys'>,
  segments: readonly PlannedSegment[],
  file: PageFile,
  { signal, onProgress }: RestoreFileOptions,
): Promise<void> {
  const bodies = segments.flatMap(segment =>
    bodiesOf(segment).map((ref): PlannedBody => ({ ...ref, segment })),
  );
  const bounds = { calls: MAX_CALLS, bytes: MAX_BYTES, bytesOf: memoryOf };
  let done = 0;
  let parts = createHash('sha256');
  for await (const { ref, body } of readAhead(bodies, bounds, async (ref, given) => ({
    ref,
    body: await readBody(store, keys, ref, { signal: given }),
  }))) {
    if (signal?.aborted) throw new OnewriterError('ABORTED', 'The restore was stopped; nothing has changed.');
    writeBody(file, ref.segment, body);
    if (ref.part !== undefined) {
      parts.update(body.sha256);
      if (ref.part === ref.entry.parts!.count - 1) {
        assertParts(ref, parts.digest('hex'));
        parts = createHash('sha256');
      }
    }
    done += bytesOf(ref);
    onProgress?.(done);
  }
}

/** All at once, and each page once; up to where the file shrinks, since what is beyond has to come again afterwards. */
function writeBody(
  file: PageFile,
  { entry, cutAt }: PlannedSegment,
  { header, numbers, pages }: ReadBody,
): void {
  const { pageSize } = entry;
  let [written, end] = [0, 0];
  const writeUpTo = (to: number) => {
    file.write(numbers.subarray(written, to), pages.subarray(written * pageSize, to * pageSize));
    written = to;
  };
  for (const commit of header.commits) {
    if (cutAt !== undefined && commit.pos > cutAt) break;
    if (commit.pages < file.size) writeUpTo(end);
    file.setSize(commit.pages);
    end = commit.frames;
  }
  writeUpTo(end);
}

/** @throws OnewriterError REPLICA_REFUSED where the segments do not go on from each other. */
function assertChain(tenant: string, segments: readonly PlannedSegment[]): void {
  const [first, ...rest] = segments;
  if (first?.entry.kind !== 'full') throw broken(tenant, 'does not begin with a full segment');
  let before = first;
  for (const segment of rest) {
    const { entry } = segment;
    if (entry.kind !== 'pages') throw broken(tenant, `has a segment of kind ${entry.kind} inside`);
    if (entry.pageSize !== first.entry.pageSize) throw broken(tenant, 'has pages of two sizes');
    // Where a branch begins, its own numbers begin.
    const isSame = entry.tenant === before.entry.tenant;
    if (isSame && (before.cutAt !== undefined || entry.min !== before.entry.max + 1))
      throw broken(tenant, `has a hole before position ${entry.min}`);
    before = segment;
  }
}

function assertParts({ entry }: BodyRef, sha256: string): void {
  if (entry.parts!.sha256 !== sha256)
    throw broken(entry.tenant, 'has a full segment that was changed in the store');
}

/** Bytes of a body in memory while it is expanded. */
function memoryOf({ entry, part }: BodyRef): number {
  return (
    bytesOf({ pack: { level: 0, number: 0 }, entry, part }) + entry.plainBytes / (entry.parts?.count ?? 1)
  );
}

function broken(tenant: string, what: string): OnewriterError {
  return new OnewriterError('REPLICA_REFUSED', `The replica of tenant ${tenant} ${what}.`, {
    tenant,
    reason: 'broken chain',
  });
}
