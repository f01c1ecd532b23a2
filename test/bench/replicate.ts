import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { MessageChannel, Worker } from 'node:worker_threads';
import { newJobId, PROTOCOL_VERSION } from '@onewriter/protocol';
import { CaptureRoom, PROGRESS_BYTES, type QueuedJob, WriterLane } from '@onewriter/writer';

/*
 * What replication costs the thread that writes: `node bench/dist/replicate.js [rounds] [ms of each turn]`, after `npx tsc -p
 * bench`, in test/. Two lanes take turns in one thread, one of them with a reader of its log in the replicator's place, which asks
 * each second and drops what it gets. Ratios are of turns beside each other.
 */

const rounds = Number(process.argv[2] ?? 10);
const turnMs = Number(process.argv[3] ?? 1_000);
/** What was asked: writer throughput with replication, and the log's largest size, to those without. */
const ASKED = { 1: 0.93, 256: 0.9, log: 1.1 } as const;

const READER = `
  import { workerData } from 'node:worker_threads';
  const cells = new BigInt64Array(workerData.room);
  let done = 0n;
  workerData.port.on('message', ({ order, frames }) => {
    if (frames !== undefined) Atomics.sub(cells, 0, BigInt(frames.byteLength));
    done = order;
  });
  setInterval(() => workerData.port.postMessage({ kind: 'capture', done }), 1_000);
`;

const TABLE =
  'CREATE TABLE item(id INTEGER PRIMARY KEY, key TEXT, body TEXT); CREATE INDEX item_key ON item(key)';
const INSERT =
  "INSERT INTO item(key, body) VALUES (hex(randomblob(16)), 'forty characters of text in every row...')";

function job(sql: string, op: object, count: number): QueuedJob {
  const ops = Array.from({ length: count }, () => op);
  const data = JSON.stringify({ v: PROTOCOL_VERSION, client: 'c-1', seq: 1, at: 0, sql: [sql], ops });
  return { id: newJobId(), data };
}

class Contestant {
  readonly lane: WriterLane;
  maxLogBytes = 0;
  readonly perSecond: number[] = [];

  constructor(dataDir: string, replicated: boolean) {
    this.lane = new WriterLane({
      ...{ dataDir, dbFile: 'tenant.db', createTenants: true, busyTimeoutMs: 1_000, maxOpenTenants: 4 },
      ...{ retentionClock: { id: 'bench', offsetMs: 0 }, exclusive: false, replicated },
      progress: new SharedArrayBuffer(PROGRESS_BYTES),
    });
  }

  apply(next: QueuedJob): void {
    const outcome = this.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs: [next] });
    if (outcome.kind === 'refused') throw new Error(outcome.error.message);
    this.maxLogBytes = Math.max(this.maxLogBytes, outcome.stats.walBytes);
  }

  async measure(rows: number): Promise<void> {
    const startedAt = performance.now();
    let commits = 0;
    while (performance.now() - startedAt < turnMs) {
      this.apply(job(INSERT, { s: 0 }, rows));
      commits++;
      // Checkpoints, and the reader's requests.
      await turn();
    }
    this.perSecond.push((commits / (performance.now() - startedAt)) * 1_000);
  }
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

async function compare(rows: 1 | 256): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'onewriter-replicate-'));
  const room = CaptureRoom.create(256 * 1024 * 1024).buffer;
  const { port1, port2 } = new MessageChannel();
  const reader = new Worker(new URL(`data:text/javascript,${encodeURIComponent(READER)}`), {
    workerData: { room, port: port2 },
    transferList: [port2],
  });
  const off = new Contestant(join(folder, 'off'), false);
  const on = new Contestant(join(folder, 'on'), true);
  try {
    on.lane.run({ kind: 'connect', port: port1, room, spool: join(folder, 'spool') }, () => {});
    for (const each of [off, on]) {
      each.apply(job(TABLE, { x: 0 }, 1));
      await each.measure(rows);
      each.perSecond.length = 0;
    }
    for (let round = 0; round < rounds; round++) {
      // The second of a pair is not always the same.
      for (const each of round % 2 === 0 ? [off, on] : [on, off]) await each.measure(rows);
    }
    const ratio = median(on.perSecond.map((value, index) => value / off.perSecond[index]!));
    const log = on.maxLogBytes / off.maxLogBytes;
    const verdict = ratio >= ASKED[rows] && log <= ASKED.log ? 'pass' : 'NO';
    const speeds = [off, on].map(({ perSecond }) => `${median(perSecond).toFixed(0)}/s`);
    process.stdout.write(
      `${rows} rows a commit: without ${speeds[0]}, with ${speeds[1]}; ratio ${ratio.toFixed(3)} (asked ${ASKED[rows]}); ` +
        `largest log x ${log.toFixed(2)} (asked ${ASKED.log}): ${verdict}\n`,
    );
  } finally {
    for (const { lane } of [off, on]) lane.close();
    await reader.terminate();
    await rm(folder, { recursive: true, force: true });
  }
}

await compare(1);
await compare(256);
process.exit(0);
