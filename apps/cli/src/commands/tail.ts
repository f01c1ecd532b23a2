import { setTimeout as pause } from 'node:timers/promises';
import {
  isOnewriterError,
  isWithoutOwnTable,
  readOwnTablesLater,
  tenantQueue,
  toWireError,
} from '@onewriter/protocol';
import { connect, type Tenant } from '@onewriter/sdk';
import type { Redis } from 'ioredis';
import { EXIT } from '../exit-codes.ts';
import { openRedis } from '../open-redis.ts';
import { connectOptions, findTarget, requireDataDir } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter tail`, as the command line gives them. */
export interface TailOptions {
  readonly dataDir?: string | undefined;
  /** Jobs that were committed before. */
  readonly last?: string | undefined;
  /** False: prints what is there, and ends. */
  readonly follow?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** One job of the ledger, as `onewriter tail --json` prints it, a line each. */
export interface TailedJob {
  readonly commitSeq: number;
  /** ISO time, by the broker's clock. */
  readonly committedAt: string;
  readonly jobId: string;
  readonly writes: number;
  readonly failed: number;
  /** Codes of the writes that failed. */
  readonly errors: readonly string[];
  /** The first statement, shortened; null where Redis has forgotten the job. */
  readonly statement: string | null;
  /** Set where this is no job but the restore of a backup. */
  readonly restored?: true | undefined;
}

interface LedgerRow {
  readonly [column: string]: unknown;
  readonly id: number;
  readonly job_id: string;
  readonly commit_seq: number;
  readonly committed_at: number;
  readonly next_op: number | null;
  readonly writes: number;
  readonly errors: string | null;
}

const PAGE = 200;
const POLL_FILE_MS = 150;
const POLL_GATEWAY_MS = 1_000;
const SELECT = `SELECT id, job_id, commit_seq, committed_at, next_op, json_array_length(results) AS writes,
  (SELECT group_concat(json_extract(e.value, '$.e.code')) FROM json_each(results) e
   WHERE e.type = 'object' AND json_type(e.value, '$.e') IS NOT NULL) AS errors FROM sqlite_onewriter_ledger`;

/** Prints a tenant's commits as they happen, from its ledger: what is printed is committed, in order, each job once. */
export async function tail(tenant: string, options: TailOptions): Promise<number> {
  const last = parseLast(options.last);
  const target = findTarget(options.dataDir);
  requireDataDir(target);
  await using onewriter = await connect(await connectOptions(target));
  const db = onewriter.tenant(tenant);
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const redis = await openRedis(target);
  const { prefix, name } = tenantQueue(target.group, tenant);
  const print = async (rows: readonly LedgerRow[]) => {
    const names = await readNames(
      redis,
      rows.map(row => `${prefix}:${name}:${row.job_id}`),
    );
    rows.forEach((row, index) => {
      const job = toJob(row, names[index] ?? null);
      process.stdout.write(options.json ? `${JSON.stringify(job)}\n` : asText(job));
    });
  };
  try {
    const newest = (await read(db, `${SELECT} ORDER BY id DESC LIMIT ?`, [Math.max(last, 1)])).reverse();
    let position = newest.at(-1)?.id ?? 0;
    await print(newest.slice(newest.length - Math.min(last, newest.length)));
    if (options.follow === false) return EXIT.ok;
    const pollMs = onewriter.readRoute === 'file' ? POLL_FILE_MS : POLL_GATEWAY_MS;
    let reported = '';
    while (!stop.signal.aborted) {
      await pause(pollMs, undefined, { signal: stop.signal }).catch(() => {}); // the loop ends
      try {
        let rows: readonly LedgerRow[];
        do {
          const page = await read(db, `${SELECT} WHERE id > ? ORDER BY id LIMIT ${PAGE}`, [position]);
          // A large job commits in parts, and is printed when all are done; no other job of the tenant overtakes it.
          const open = page.findIndex(row => row.next_op !== null);
          rows = open < 0 ? page : page.slice(0, open);
          await print(rows);
          position = rows.at(-1)?.id ?? position;
        } while (rows.length === PAGE && !stop.signal.aborted);
        reported = '';
      } catch (error) {
        // Its file is away or busy for a moment, or the gateway is: it is looked at again.
        if (!isOnewriterError(error)) throw error;
        if (reported !== error.code && !stop.signal.aborted) {
          const { code, message } = toWireError(error);
          process.stderr.write(`onewriter: ${code} ${message} Looking again until Ctrl-C.\n`);
        }
        reported = error.code;
      }
    }
    return EXIT.ok;
  } finally {
    redis.disconnect();
  }
}

async function read(db: Tenant, sql: string, params: readonly number[]): Promise<LedgerRow[]> {
  try {
    return await readOwnTablesLater(
      async names => (await db.prepare<number[], LedgerRow>(names(sql)).all(...params)) as LedgerRow[],
    );
  } catch (error) {
    // No broker has opened this file yet, so it has no ledger.
    if (isWithoutOwnTable(error)) return [];
    throw error;
  }
}

/** Names of jobs, as far as Redis has kept them: the newest of a tenant. */
async function readNames(redis: Redis, keys: readonly string[]): Promise<(string | null)[]> {
  if (keys.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const key of keys) pipeline.hget(key, 'name');
  try {
    const replies = (await pipeline.exec()) ?? [];
    return replies.map(([, value]) => (typeof value === 'string' ? value : null));
  } catch {
    return []; // the ledger has all that counts
  }
}

function toJob(row: LedgerRow, name: string | null): TailedJob {
  const errors = row.errors === null ? [] : row.errors.split(',');
  return {
    commitSeq: row.commit_seq,
    committedAt: new Date(row.committed_at).toISOString(),
    jobId: row.job_id,
    writes: row.writes,
    failed: errors.length,
    errors,
    // `<tenant> · <n> writes · <first statement>`
    statement: name === null ? null : name.split(' · ').slice(2).join(' · '),
    ...(row.job_id.startsWith('restore-') ? { restored: true as const } : {}),
  };
}

function asText(job: TailedJob): string {
  const head = `${job.committedAt.slice(11, 23)}  commit ${job.commitSeq}`;
  if (job.restored) return `${head}  a backup was restored: read the data again\n`;
  const writes = `${job.writes} ${job.writes === 1 ? 'write' : 'writes'}`;
  const failed = job.failed === 0 ? '' : `  ${job.failed} failed: ${[...new Set(job.errors)].join(', ')}`;
  return `${head}  ${writes.padEnd(10)}  ${job.statement ?? job.jobId}${failed}\n`;
}

function parseLast(text: string | undefined): number {
  if (text === undefined) return 10;
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new UsageError('--last is a number from 0 to 999999.');
}
