import { NEWEST_COMMIT_SEQ_SQL } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { connect, type Onewriter, type OnewriterError, type Tenant } from '@onewriter/sdk';
import {
  startRedis,
  startService,
  startStack,
  startTcpProxy,
  TEST_TOKEN_SECRET,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { describe, expect, it, onTestFinished } from 'vitest';
import { slowInsert } from './slow-write.ts';
import { columnInFile, inFile, ledgerInFile } from './tenant-file.ts';

/** The answer that a caller got for its write. */
interface Told {
  readonly tenant: string;
  readonly n: number;
  /** 'committed', or the code of the error. */
  readonly code: string;
  readonly commitSeq: number;
}

const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL UNIQUE)';
/** Each fiftieth write repeats this one, and fails. */
const TAKEN = -1;

async function insertAndTell(db: Tenant, n: number): Promise<Told> {
  const value = n % 50 === 49 ? TAKEN : n;
  try {
    const { commitSeq } = await db.prepare('INSERT INTO t(n) VALUES (?)').run(value);
    return { tenant: db.id, n, code: 'committed', commitSeq };
  } catch (error) {
    return { tenant: db.id, n, code: (error as OnewriterError).code, commitSeq: 0 };
  }
}

async function openClient(options: { redis: string; dataDir: string }): Promise<Onewriter> {
  const client = await connect(options);
  onTestFinished(() => client.close({ timeoutMs: 1_000 }));
  return client;
}

describe('kill -9 of the broker', () => {
  it('in the middle of 5,000 writes: it is started again, each caller gets a true answer, each write is applied once', async () => {
    const WRITES = 5_000;
    const CALLERS = 100;
    const stack = await startStack();
    onTestFinished(async () => void (await stack.stop()));
    const client = await openClient({ redis: stack.redisUrl, dataDir: stack.dataDir });
    const tenants = ['one', 'two'].map(id => client.tenant(id));
    for (const db of tenants) {
      await db.exec(CREATE);
      await db.prepare('INSERT INTO t(n) VALUES (?)').run(TAKEN);
    }
    const { broker } = stack.currentPids();

    const told: Told[] = [];
    let toldWhenKilled = 0;
    let next = 0;
    const caller = async () => {
      while (next < WRITES) {
        const n = next++;
        told.push(await insertAndTell(tenants[n % 2]!, n));
        if (toldWhenKilled === 0 && told.length > WRITES / 3) {
          process.kill(broker, 'SIGKILL');
          toldWhenKilled = told.length;
        }
      }
    };
    await Promise.all(Array.from({ length: CALLERS }, caller));

    expect(stack.logs()).toContain('broker ended (signal SIGKILL); ');
    expect(stack.currentPids().broker).not.toBe(broker);
    expect(toldWhenKilled).toBeLessThan(WRITES / 2);
    expect(told).toHaveLength(WRITES);
    for (const { n, code } of told) {
      expect(code, `write ${n}`).toBe(n % 50 === 49 ? 'CONSTRAINT_VIOLATION' : 'committed');
    }

    let results = 0;
    for (const { id } of tenants) {
      const committed = told.filter(({ tenant, code }) => tenant === id && code === 'committed');
      const rows = columnInFile(stack.dataDir, id, 'SELECT n FROM t WHERE n >= 0 ORDER BY n');
      expect(rows).toEqual(committed.map(({ n }) => n).sort((a, b) => a - b));

      // After those that made the table and the taken number.
      const jobs = ledgerInFile(stack.dataDir, id).slice(2);
      expect(new Set(jobs.map(job => job.jobId)).size).toBe(jobs.length);
      expect(jobs.filter(job => job.nextOp !== null)).toEqual([]);
      results += jobs.reduce((sum, job) => sum + job.results.length, 0);
      const seqs = [...new Set(jobs.map(job => job.commitSeq))].sort((a, b) => a - b);
      expect(seqs).toEqual(seqs.map((_, index) => 3 + index));
      expect(columnInFile(stack.dataDir, id, NEWEST_COMMIT_SEQ_SQL)).toEqual([seqs.at(-1)]);
      expect(committed.filter(({ commitSeq }) => !seqs.includes(commitSeq))).toEqual([]);
      expect(inFile(stack.dataDir, id, file => file.pragma('integrity_check', { simple: true }))).toBe('ok');
    }
    expect(results).toBe(WRITES);
  });

  it('between commit and answer: the next one gives the answer that is in the ledger, and writes nothing', async () => {
    await using redis = await startRedis();
    await using data = await temporaryDirectory('killed');
    await using proxy = await startTcpProxy(redis.port);
    const first = await startService('broker', {
      redisUrl: `redis://127.0.0.1:${proxy.port}`,
      dataDir: data.path,
    });
    onTestFinished(async () => void (await first.stop()));
    const client = await openClient({ redis: redis.url, dataDir: data.path });
    const db = client.tenant('acme');
    await db.exec(CREATE);

    const writing = db.prepare(slowInsert(7, 400)).run();
    await waitFor(async () => (await (await fetch(`${first.url}/readyz`)).json()).busyLanes === 1, {
      intervalMs: 2,
    });
    proxy.swallow(true);
    await waitFor(() => columnInFile(data.path, db.id, 'SELECT n FROM t').length === 1);
    first.kill('SIGKILL');
    await first.exited;
    const second = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
    onTestFinished(async () => void (await second.stop()));

    const { commitSeq } = await writing;
    expect(columnInFile(data.path, db.id, 'SELECT n FROM t')).toEqual([7]);
    expect(ledgerInFile(data.path, db.id).map(job => job.commitSeq)).toEqual([1, 2]);
    expect(commitSeq).toBe(2);
    await waitFor(async () => {
      const metrics = await (await fetch(`${second.url}/metrics`)).text();
      return /^onewriter_jobs_total\{result="duplicate"\} 1$/m.test(metrics);
    });
  });
});

describe('gateway and broker, each started alone', () => {
  it('find each other through Redis and the files alone, in any order, and each ends without help', async () => {
    await using redis = await startRedis();
    await using data = await temporaryDirectory('alone');
    const options = { redisUrl: redis.url, dataDir: data.path };
    const token = await signToken(TEST_TOKEN_SECRET, { tenants: ['acme'], access: 'write' });

    const gateway = await startService('gateway', options);
    onTestFinished(async () => void (await gateway.stop()));
    const isHealthy = async () => (await fetch(`${gateway.url}/health`)).status;
    const query = async (text: string) => {
      const response = await fetch(`${gateway.url}/query`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ tenantId: 'acme', query: text }),
      });
      return (await response.json()) as unknown;
    };
    expect(await isHealthy()).toBe(503);
    // Sent before there is a broker: it waits in the queue.
    const early = query('CREATE TABLE t(n)');

    const broker = await startService('broker', options);
    onTestFinished(async () => void (await broker.stop()));
    expect(await early).toEqual({ type: 'run', result: { changes: 0, lastInsertRowid: 0 } });
    expect(await isHealthy()).toBe(200);
    expect(await query('INSERT INTO t VALUES (7) RETURNING n')).toEqual({ type: 'all', result: [{ n: 7 }] });

    expect(await broker.stop()).toEqual({ code: 0, signal: null });
    expect(await isHealthy()).toBe(503);
    // Reads need no broker.
    expect(await query('SELECT n FROM t')).toEqual({ type: 'all', result: [{ n: 7 }] });
    expect(await gateway.stop()).toEqual({ code: 0, signal: null });
  });
});
