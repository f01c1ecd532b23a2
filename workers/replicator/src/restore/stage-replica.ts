import { dirname } from 'node:path';
import {
  assertRoom,
  formatBytes,
  inspectDraft,
  openReadOnly,
  readNumbers,
  removeDatabase,
  type StagedFile,
} from '@onewriter/files';
import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { LogPosition } from '@onewriter/writer';
import type { Point } from '../chain/point.ts';
import { openReplicaReader, type ReplicaReader, type RestorePlan } from '../chain/replica-reader.ts';
import type { OpenReplica } from '../jobs/replica-access.ts';
import { restoreToFile } from './restore-to-file.ts';

/** A tenant's file at a point, beside where it will be. */
export interface StagedReplica extends StagedFile {
  /** What was found for the point. */
  readonly pos: number;
  readonly commitSeq: number;
  readonly atMs: number;
  /** Bytes and requests of the store that it took, without those to find it. */
  readonly bytes: number;
  readonly requests: number;
  readonly rows: number;
  readonly tables: number;
  /** Where its log ended; undefined where only a part of a segment was taken, or it is a branch without a segment of its own. */
  readonly end: LogPosition | undefined;
}

/** Settings of a file that is staged. */
export interface StageOptions {
  /** Stored bytes that are done. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** A larger file is not made. */
  readonly maxBytes?: number | undefined;
}

/** Segments may expire while they are read; each attempt begins with a newer state of the store. */
const MAX_TRIES = 3;

/** A reader whose state can be read again. */
export class RestoreSource {
  readonly #replica: OpenReplica;
  #reader: ReplicaReader;

  constructor(replica: OpenReplica) {
    this.#replica = replica;
    this.#reader = openReplicaReader(replica.store, replica.keys);
  }

  get reader(): ReplicaReader {
    return this.#reader;
  }

  /**
   * Writes a tenant's file at a point, and checks it.
   * @param draft must not exist; it does not after an error, either
   * @throws OnewriterError POSITION_UNKNOWN, REPLICA_…, DATABASE_FULL, DATABASE_CORRUPT, RESULT_TOO_LARGE
   */
  async stage(
    tenant: string,
    point: Point,
    draft: string,
    options: StageOptions = {},
  ): Promise<StagedReplica> {
    for (let tries = 1; ; tries++) {
      try {
        return await stageOnce(this.#reader, tenant, point, draft, options);
      } catch (error) {
        removeDatabase(draft);
        const isGone =
          isOnewriterError(error, 'REPLICA_REFUSED') && error.details.reason === 'missing segment';
        if (!isGone || tries === MAX_TRIES) throw error;
        this.#reader = openReplicaReader(this.#replica.store, this.#replica.keys);
      }
    }
  }
}

async function stageOnce(
  reader: ReplicaReader,
  tenant: string,
  point: Point,
  draft: string,
  { onProgress, maxBytes = Number.POSITIVE_INFINITY }: StageOptions,
): Promise<StagedReplica> {
  const plan = await reader.plan(tenant, point);
  const sizes = plan.segments.map(({ entry }) => entry.pages * entry.pageSize);
  const largest = Math.max(...sizes);
  if (largest > maxBytes) {
    throw new OnewriterError(
      'RESULT_TOO_LARGE',
      `Tenant ${tenant} has ${formatBytes(largest)} there, over ${formatBytes(maxBytes)}: restore it under another name instead.`,
      { tenant },
    );
  }
  assertRoom(dirname(draft), largest);
  await restoreToFile(reader, plan, draft, { onProgress });
  return inspect(plan, draft);
}

function inspect(
  { tenant, pos, commitSeq, atMs, bytes, requests, segments }: RestorePlan,
  draft: string,
): StagedReplica {
  const db = openReadOnly(draft, 0);
  try {
    const damaged = (damage: string) =>
      new OnewriterError(
        'DATABASE_CORRUPT',
        `Tenant ${tenant} at commit ${commitSeq} is damaged in the replica: ${damage}. Nothing was restored; use another point.`,
        { tenant, reason: damage },
      );
    const { rows, tables, notVerified } = inspectDraft(db, 'quick', damaged);
    const numbers = readNumbers(db);
    const last = segments.at(-1)?.entry;
    const end = last?.tenant === tenant && last.max === pos ? last.end : undefined;
    return {
      numbers,
      warnings: notVerified,
      ...{ pos, commitSeq, atMs, bytes, requests, rows, tables, end },
    };
  } finally {
    db.close();
  }
}
