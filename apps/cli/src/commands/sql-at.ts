import { openReadOnly, timeoutForBytes } from '@onewriter/files';
import {
  assertTenantId,
  classifyStatement,
  OnewriterError,
  parametersOf,
  type SqlParameters,
} from '@onewriter/protocol';
import { withScratchPoint } from '@onewriter/replicator';
import type { ExecuteResult, SqlRowArray } from '@onewriter/sdk';
import Database from 'better-sqlite3';
import { EXIT } from '../exit-codes.ts';
import { createProgress, describeRate } from '../progress.ts';
import { readPoint } from '../replica/read-point.ts';
import { replicaAccess } from '../replica/replica-access.ts';
import { formatResult } from '../shell/format-result.ts';
import { findTarget, placeOf, requireDataDir } from '../target.ts';

/** What `onewriter sql --at` is given. */
export interface SqlAtOptions {
  readonly at: string;
  readonly params: SqlParameters;
  readonly from?: string | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Of a tenant in the replica, whose size is not known. */
const ASSUMED_BYTES = 1024 * 1024 * 1024;

/** Runs a statement that reads on a tenant as it was at a point of the replica: on a file that is removed afterwards. */
export async function sqlAt(
  tenant: string,
  statement: string,
  { at, params, from, dataDir, json }: SqlAtOptions,
): Promise<number> {
  assertTenantId(tenant);
  const point = readPoint(at);
  if (classifyStatement(statement).kind !== 'read')
    throw new OnewriterError('STATEMENT_NOT_ALLOWED', 'With --at only statements that read can be run.');
  const target = findTarget(dataDir);
  requireDataDir(target);
  const access = replicaAccess(target.config, from);
  const limits = {
    timeoutMs: () => timeoutForBytes(ASSUMED_BYTES),
    memoryBytes: target.config.readMemoryBytes,
  };
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  for (const name of SIGNALS) process.on(name, stop);
  const progress = createProgress(json);
  const beganAt = performance.now();
  const onProgress = (bytes: number) => progress.update(describeRate(bytes, performance.now() - beganAt));
  const { signal } = stopping;
  try {
    const request = { access, tenant, point, limits, priority: 'usual', signal, onProgress } as const;
    return await withScratchPoint(placeOf(target), request, async ({ path, commitSeq, atMs }) => {
      progress.end();
      // SQLite does not look at signals: from here on they end the process. The file is then removed by the next command.
      for (const name of SIGNALS) process.off(name, stop);
      if (!json) process.stderr.write(`As of commit ${commitSeq}, ${new Date(atMs).toISOString()}.\n`);
      process.stdout.write(formatResult(readFrom(path, statement, params), json ? 'json' : 'table'));
      return EXIT.ok;
    });
  } finally {
    progress.end();
  }
}

function readFrom(path: string, sql: string, params: SqlParameters): ExecuteResult<SqlRowArray> {
  const db = openReadOnly(path, 0);
  try {
    const statement = db.prepare<unknown[], SqlRowArray>(sql);
    const nothing = { kind: 'read', changes: 0, lastInsertRowid: 0 } as const;
    if (!statement.reader) return nothing; // a PRAGMA without an answer
    const rows = statement
      .raw(true)
      .safeIntegers(true)
      .all(...parametersOf(sql).toArguments(params));
    return { ...nothing, columns: statement.columns().map(({ name }) => name), rows };
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error;
    throw new OnewriterError('SQL_ERROR', error.message, { sqliteCode: error.code }, error);
  } finally {
    db.close();
  }
}
