import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { OnewriterError, shownName } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { assertRoom, SPARE_BYTES } from '../assert-room.ts';
import { flush } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import type { LoadKey } from '../load/load-key.ts';
import { inspectLoaded, NO_NUMBERS } from '../load/loaded-file.ts';
import { makeTenant } from '../restore/make-tenant.ts';
import type { StagedFile } from '../restore/staged-file.ts';
import { makePart } from './make-part.ts';
import type { SplitJob, SplitTask, TenantValue } from './split-messages.ts';

/** A tenant that was made. */
export interface SplitOff {
  readonly tenant: string;
  readonly file: string;
  readonly bytes: number;
  readonly rows: number;
  readonly foreignKeyViolations: number;
  readonly commitSeq: number;
  readonly warnings: readonly string[];
}

/** The name under which a tenant's file has its split, for {@link splitHash}. */
export const SPLIT_KEY = 'import --split-by';

/** Says of a tenant's file that it came out of this source, in this way. */
export function splitHash(
  { hash, options }: Pick<SplitJob, 'hash' | 'options'>,
  { type, text }: TenantValue,
): string {
  return createHash('sha256')
    .update(JSON.stringify([hash, options, type, text]))
    .digest('hex');
}

/**
 * Makes the file of one tenant out of its rows, compares their number with the plan's, and puts it in place as a whole.
 * @param shared rows of the tables that each tenant gets
 * @throws OnewriterError TENANT_BUSY where there is a file, DATABASE_BUSY where the source changed, DATABASE_CORRUPT, DATABASE_…
 */
export async function splitTenant(
  place: DataPlace,
  tenant: string,
  job: SplitJob,
  task: SplitTask,
  redis: Redis | undefined,
): Promise<SplitOff> {
  const reason = `import of ${basename(job.source)}`;
  let staged: StagedPart | undefined;
  const made = await makeTenant(place, tenant, { redis, who: job.who, reason }, async draft => {
    assertRoom(dirname(draft), task.part.bytes + SPARE_BYTES);
    staged = stagePart(job, task, draft);
    return staged;
  });
  const { rows, foreignKeyViolations } = staged!.loadKey.figures;
  return { tenant, bytes: staged!.bytes, rows, foreignKeyViolations, ...made };
}

interface StagedPart extends StagedFile {
  readonly bytes: number;
  readonly loadKey: LoadKey;
}

function stagePart(job: SplitJob, { part, shared }: SplitTask, draft: string): StagedPart {
  makePart(job, { value: part, rows: new Map([...part.rows, ...shared]) }, draft);
  flush(draft);
  flush(dirname(draft));
  const { rows, tables, foreignKeyViolations, warnings } = inspectLoaded(draft);
  if (foreignKeyViolations > 0 && !job.dangles) {
    throw new OnewriterError(
      'CONSTRAINT_VIOLATION',
      `${foreignKeyViolations} rows of ${shownName(part.text)} would refer to rows that it does not get.`,
    );
  }
  const figures = { statements: 0, rows, tables, foreignKeyViolations };
  const loadKey = { key: SPLIT_KEY, hash: splitHash(job, part), figures };
  return { numbers: NO_NUMBERS, warnings, loadKey, bytes: statSync(draft).size };
}
