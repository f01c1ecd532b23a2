import { randomBytes } from 'node:crypto';
import { type GatewayClient, isOnewriterError } from '@onewriter/protocol';
import { connect, type Onewriter, type Statement } from '@onewriter/sdk';
import { EXIT } from '../exit-codes.ts';
import { GATEWAY_TIMEOUT_MS, openGateway } from '../open-gateway.ts';
import { createProgress } from '../progress.ts';
import { formatTable } from '../table.ts';
import { connectOptions, findTarget } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter bench`, as the command line gives them. */
export interface BenchOptions {
  readonly dataDir?: string | undefined;
  readonly quick?: boolean | undefined;
  /** Duration of each scenario. */
  readonly seconds?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Figures of one scenario. */
export interface BenchResult {
  /** `write`: a row committed and flushed. `read`: a row by its key, from the file. */
  readonly kind: 'write' | 'read';
  /** Callers that wait for their own answer before they ask again. */
  readonly callers: number;
  readonly seconds: number;
  readonly operations: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** What `onewriter bench --json` prints. */
export interface BenchReport {
  readonly tenant: string;
  readonly results: readonly BenchResult[];
  /** Rows that are there, of those that were said to be committed: equal, or something is very wrong. */
  readonly rowsCommitted: number;
  readonly rowsFound: number;
  /** Whether the scratch tenant is gone again. */
  readonly deleted: boolean;
}

const SCENARIOS = [
  { kind: 'write', callers: 1 },
  { kind: 'write', callers: 64 },
  { kind: 'write', callers: 256 },
  { kind: 'read', callers: 1 },
] as const;
const QUICK_SECONDS = 2;
const SECONDS = 10;
const PAYLOAD =
  'a row of a common size, as an application would write it: some hundred bytes of text, more or less.';
/** A read that goes through HTTP is no read of this kind; a file's is done before a timer could tick. */
const READS_PER_TURN = 200;

/** Measures a running stack: writes and reads in a tenant of its own, which is deleted afterwards. */
export async function bench(options: BenchOptions): Promise<number> {
  const seconds = parseSeconds(options);
  const target = findTarget(options.dataDir);
  // Before anything is written: without a gateway the tenant would stay.
  const gateway = await openGateway(target);
  await using onewriter = await connect(await connectOptions(target));
  const tenant = `bench-${randomBytes(4).toString('hex')}`;
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const results: BenchResult[] = [];
  let rowsCommitted = 0;
  let rowsFound = 0;
  let deleted = false;
  const progress = createProgress(options.json);
  try {
    const db = onewriter.tenant(tenant);
    await db.exec('CREATE TABLE rows(id INTEGER PRIMARY KEY, payload TEXT NOT NULL)');
    const insert = db.prepare<[string]>('INSERT INTO rows(payload) VALUES (?)');
    for (const [index, { kind, callers }] of SCENARIOS.entries()) {
      if (stop.signal.aborted) break;
      progress.update(`${kind}, ${callers} callers`, index / SCENARIOS.length);
      const result =
        kind === 'write'
          ? await measureWrites(insert, callers, seconds, stop.signal)
          : await measureReads(onewriter, tenant, seconds, stop.signal);
      if (kind === 'write') rowsCommitted += result.operations;
      results.push(result);
    }
    rowsFound = Number((await db.prepare<[], { n: number }>('SELECT count(*) AS n FROM rows').get())?.n);
  } finally {
    progress.end();
    deleted = await remove(gateway, tenant);
  }
  const report: BenchReport = { tenant, results, rowsCommitted, rowsFound, deleted };
  process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : asText(report));
  return rowsFound === rowsCommitted && deleted && !stop.signal.aborted ? EXIT.ok : EXIT.failed;
}

/** Prints instead of throwing: the caller must see the earlier failure, not this one. */
async function remove(gateway: GatewayClient, tenant: string): Promise<boolean> {
  try {
    const headers = { 'confirm-delete': tenant };
    await gateway.request(`/v1/tenants/${tenant}?discardQueued=true`, {
      method: 'DELETE',
      headers,
      timeoutMs: GATEWAY_TIMEOUT_MS,
    });
    return true;
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    if (error.code !== 'TENANT_NOT_FOUND') {
      process.stderr.write(
        `onewriter: ${error.code} ${error.message} Delete it: onewriter tenants delete ${tenant} --confirm ${tenant}\n`,
      );
    }
    return false;
  }
}

async function measureWrites(
  insert: Statement<[string]>,
  callers: number,
  seconds: number,
  signal: AbortSignal,
): Promise<BenchResult> {
  const durations: number[] = [];
  const started = performance.now();
  const until = started + seconds * 1_000;
  const call = async () => {
    while (performance.now() < until && !signal.aborted) {
      const before = performance.now();
      await insert.run(PAYLOAD);
      durations.push(performance.now() - before);
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  return summarize('write', callers, durations, performance.now() - started);
}

async function measureReads(
  onewriter: Onewriter,
  tenant: string,
  seconds: number,
  signal: AbortSignal,
): Promise<BenchResult> {
  const get = onewriter.tenant(tenant).prepare<[number]>('SELECT * FROM rows WHERE id = ?');
  const durations: number[] = [];
  const started = performance.now();
  const until = started + seconds * 1_000;
  let id = 1;
  while (performance.now() < until && !signal.aborted) {
    for (let turn = 0; turn < READS_PER_TURN; turn++) {
      const before = performance.now();
      await get.get(id);
      durations.push(performance.now() - before);
      id = (id % 100) + 1;
    }
    await new Promise<void>(resolve => setImmediate(resolve));
  }
  return summarize('read', 1, durations, performance.now() - started);
}

function summarize(
  kind: BenchResult['kind'],
  callers: number,
  durations: readonly number[],
  elapsedMs: number,
): BenchResult {
  const sorted = Float64Array.from(durations).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  const round = (value: number) => Math.round(value * 1_000) / 1_000;
  return {
    kind,
    callers,
    seconds: round(elapsedMs / 1_000),
    operations: sorted.length,
    perSecond: Math.round(sorted.length / (elapsedMs / 1_000)),
    p50Ms: round(at(0.5)),
    p99Ms: round(at(0.99)),
    maxMs: round(at(1)),
  };
}

function asText({ tenant, results, rowsCommitted, rowsFound, deleted }: BenchReport): string {
  const rows = results.map(({ kind, callers, perSecond, p50Ms, p99Ms, maxMs, operations }) => [
    kind,
    String(callers),
    String(perSecond),
    p50Ms.toFixed(3),
    p99Ms.toFixed(3),
    maxMs.toFixed(1),
    String(operations),
  ]);
  const table = formatTable(['what', 'callers', 'per second', 'p50 ms', 'p99 ms', 'max ms', 'in all'], rows);
  const verdict =
    rowsFound === rowsCommitted
      ? `All ${rowsCommitted} committed rows were found.`
      : `${rowsCommitted} rows were committed and ${rowsFound} found: this must not be. Keep the logs.`;
  const end = deleted
    ? `The tenant ${tenant} is deleted again; its folder is in the trash until it expires.`
    : '';
  return `${table}${verdict} ${end}\n`;
}

function parseSeconds({ quick, seconds }: BenchOptions): number {
  if (seconds === undefined) return quick ? QUICK_SECONDS : SECONDS;
  const value = Number(seconds);
  if (value > 0 && value <= 600) return value;
  throw new UsageError('--seconds is a number above 0, up to 600.');
}
