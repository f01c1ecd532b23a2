import { tenantFile } from '@onewriter/protocol';
import { connect } from '@onewriter/sdk';
import Database from 'better-sqlite3';
import { cpuSecondsOf } from '../measure/process-usage.ts';
import { INSERT_ITEM, SEEDED_ITEMS } from '../workloads.ts';
import { Latencies } from './latencies.ts';
import type { LoadRun } from './load-messages.ts';
import { createRandom } from './random.ts';
import { serveCommands } from './serve-commands.ts';

/*
 * Reads of one row by its key from one tenant's file, one after the other, as fast as a program can: with the SDK
 * (`await statement.get(id)`), or with better-sqlite3 bare (`statement.get(id)`, no await). The file is the same. There
 * is no generator in between: at some 300,000 reads a second it would be what is measured.
 */

interface GetSpec {
  readonly with: 'sdk' | 'better-sqlite3';
  readonly redisUrl: string;
  readonly dataDir: string;
  readonly tenant: string;
}

const spec = JSON.parse(process.argv[2]!) as GetSpec;
const SQL = 'SELECT id, owner, title, body FROM item WHERE id = ?';
/** Reads between two looks at the clock. */
const READS_PER_TURN = 1_000;

const onewriter = await connect({ redis: spec.redisUrl, dataDir: spec.dataDir });
const random = createRandom(7);
const ids = Array.from({ length: READS_PER_TURN }, () => 1 + Math.floor(random() * SEEDED_ITEMS));
let readOnce: () => void | Promise<void>;

serveCommands({
  setUp: async () => {
    const tenant = onewriter.tenant(spec.tenant);
    await tenant.exec(
      'CREATE TABLE IF NOT EXISTS item(id INTEGER PRIMARY KEY, owner INTEGER, title TEXT, body TEXT)',
    );
    const rows = await tenant.prepare<[], { rows: number }>('SELECT count(*) AS rows FROM item').get();
    if (rows!.rows === 0) {
      for (let start = 0; start < SEEDED_ITEMS; start += 500) {
        await tenant.transaction(
          Array.from({ length: 500 }, (_, index) => ({
            sql: INSERT_ITEM,
            params: [index, `item ${start + index}`, 'forty characters of text in every row...'],
          })),
        );
      }
    }
    readOnce = spec.with === 'sdk' ? readWithSdk() : readBare();
    return undefined;
  },
  run: async ({ warmupMs, measureMs }) => {
    await readFor(warmupMs);
    return { ok: true, run: await readFor(measureMs) };
  },
  close: () => onewriter.close(),
});

function readWithSdk(): () => Promise<void> {
  const statement = onewriter.tenant(spec.tenant).prepare<[number], { id: number }>(SQL);
  return async () => {
    for (const id of ids)
      if ((await statement.get(id))!.id !== id) throw new Error(`Row ${id} is not itself.`);
  };
}

function readBare(): () => void {
  const db = new Database(tenantFile(spec.dataDir, spec.tenant), { readonly: true });
  const statement = db.prepare<[number], { id: number }>(SQL);
  return () => {
    for (const id of ids) if (statement.get(id)!.id !== id) throw new Error(`Row ${id} is not itself.`);
  };
}

async function readFor(ms: number): Promise<LoadRun> {
  const latencies = new Latencies();
  const cpuBefore = cpuSecondsOf(process.pid);
  const started = performance.now();
  let elapsedMs = 0;
  let operations = 0;
  for (let turnStarted = started; elapsedMs < ms; ) {
    await readOnce();
    const now = performance.now();
    // The mean of a turn: looking at the clock for each would cost a good part of a read.
    latencies.add((now - turnStarted) / READS_PER_TURN);
    turnStarted = now;
    operations += READS_PER_TURN;
    elapsedMs = now - started;
  }
  const cpuSeconds = { client: cpuSecondsOf(process.pid) - cpuBefore };
  return { operations, rows: 0, elapsedMs, allRows: 0, latencies: latencies.toPairs(), cpuSeconds };
}
