import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { Latencies } from '../load/latencies.ts';
import type { LoadRun } from '../load/load-messages.ts';
import { serveCommands } from '../load/serve-commands.ts';
import { cpuSecondsOf } from '../measure/process-usage.ts';
import { dragStatements, INSERT_ITEM, MOVE_TASK, WORKLOADS } from '../workloads.ts';

/*
 * better-sqlite3 in the process that writes, without a broker, in a loop: what SQLite can do at all on this machine. With
 * a busy timeout and several such processes on one file it is also what people do without a broker.
 */

/** First argument, as JSON. */
export interface InProcessSpec {
  readonly file: string;
  readonly write: 'insert' | 'kanban-drag';
  /** Rows (or drags) in one transaction. */
  readonly perTransaction: number;
  readonly busyTimeoutMs: number;
  /** Among several processes on one file, the one that makes the tables. */
  readonly makesTables: boolean;
}

const spec = JSON.parse(process.argv[2]!) as InProcessSpec;
/** Milliseconds in a row without a look at messages. */
const TURN_MS = 50;

let db: Database.Database;
let commit: () => number;

serveCommands({
  setUp: async () => {
    mkdirSync(dirname(spec.file), { recursive: true });
    db = new Database(spec.file, { timeout: spec.busyTimeoutMs });
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    if (spec.makesTables) makeTables();
    commit = spec.write === 'insert' ? prepareInsert() : prepareDrag();
    return `synchronous=${db.pragma('synchronous', { simple: true })}`;
  },
  run: async ({ beginAt, warmupMs, measureMs }) => {
    const measureAt = beginAt + warmupMs;
    return { ok: true, run: await commitUntil(measureAt, measureAt + measureMs) };
  },
  close: async () => void db.close(),
});

function makeTables(): void {
  const { schema, seed } = WORKLOADS[spec.write] as (typeof WORKLOADS)['kanban-drag'];
  for (const sql of schema.sqlite) db.exec(sql);
  db.transaction(() => {
    for (const { sql, params } of seed ?? []) db.prepare(sql).run(...params);
  })();
}

function prepareInsert(): () => number {
  const insert = db.prepare(INSERT_ITEM);
  let turn = 0;
  const insertOne = () => insert.run(1, `item ${++turn}`, 'forty characters of text in every row...').changes;
  if (spec.perTransaction === 1) return insertOne;
  return db.transaction(() => {
    let rows = 0;
    while (rows < spec.perTransaction) rows += insertOne();
    return rows;
  }).immediate;
}

function prepareDrag(): () => number {
  const move = db.prepare(MOVE_TASK);
  let turn = 0;
  return db.transaction(() => {
    let rows = 0;
    for (const { params } of dragStatements(turn % 16, ++turn)) rows += move.run(...params).changes;
    return rows;
  }).immediate;
}

/** Commits from now on; what is answered between the two times (by Date.now()) counts, whichever process held the lock before. */
async function commitUntil(measureAt: number, endAt: number): Promise<LoadRun> {
  const latencies = new Latencies();
  const clock = () => performance.timeOrigin + performance.now();
  let cpuBefore: number | undefined;
  let operations = 0;
  let rows = 0;
  let allRows = 0;
  let refused = 0;
  let now = clock();
  while (now < endAt) {
    await new Promise(resolve => setImmediate(resolve));
    if (now >= measureAt) cpuBefore ??= cpuSecondsOf(process.pid);
    for (const turnEnds = Math.min(now + TURN_MS, endAt); now < turnEnds; ) {
      const started = now;
      let written = 0;
      try {
        written = commit();
      } catch (error) {
        if (!(error as { code?: string }).code?.startsWith('SQLITE_BUSY')) throw error;
        refused++;
      }
      now = clock();
      allRows += written;
      if (now < measureAt || now > endAt) continue;
      latencies.add(now - started);
      rows += written;
      if (written > 0) operations += spec.write === 'insert' ? spec.perTransaction : 1;
    }
  }
  const cpuSeconds = { client: cpuSecondsOf(process.pid) - (cpuBefore ?? cpuSecondsOf(process.pid)) };
  const elapsedMs = endAt - measureAt;
  return { operations, rows, elapsedMs, allRows, latencies: latencies.toPairs(), cpuSeconds, refused };
}
