import {
  deadLetterQueue,
  groupKeys,
  newJobId,
  PROTOCOL_VERSION,
  tenantQueue,
  type WriteJobMessage,
} from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  CLI_MAIN,
  type Service,
  spawnProcess,
  startRedis,
  startService,
  type TestRedis,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { columnInFile } from './tenant-file.ts';

/* A broker sets writes aside, and `onewriter dead-letters` shows them, sends them again and drops them. */

let redis: TestRedis;
let broker: Service;
let app: Onewriter;
let connection: Redis;
let letters: Queue;
let tenants = 0;

beforeAll(async () => {
  redis = await startRedis();
  broker = await startService('broker', { redisUrl: redis.url, dataDir: redis.directory });
  app = await connect({ redis: redis.url, dataDir: redis.directory });
  connection = new Redis(redis.url, { maxRetriesPerRequest: null });
  const { name, prefix } = deadLetterQueue('default');
  letters = new Queue(name, { connection, prefix });
});

afterAll(async () => {
  await letters?.close();
  connection?.disconnect();
  await app?.close();
  await broker?.stop();
  await redis?.stop();
});

/** Runs `onewriter dead-letters …` to its end. */
async function deadLetters(...args: string[]) {
  const command = await spawnProcess(
    process.execPath,
    [CLI_MAIN, 'dead-letters', ...args, '--data-dir', redis.directory],
    { env: { ...withoutSettings(), ONEWRITER_REDIS_URL: redis.url, NO_COLOR: '1' } },
  );
  const { code } = await command.exited;
  return { code, stdout: command.stdout(), stderr: command.stderr() };
}

/** A tenant with a table `other(n)`. */
async function newTenant() {
  const db = app.tenant(`letters-${++tenants}`);
  await db.exec('CREATE TABLE other(n INTEGER)');
  return db;
}

/** Enqueues a write that fails, and waits for its letter. */
async function setAside(tenant: string, sql: string, params: unknown[] = [], idempotencyKey?: string) {
  const receipt = await app.tenant(tenant).enqueue(sql, params as never[], { idempotencyKey });
  const id = `dl-${receipt.id}`;
  await waitFor(async () => (await letters.getJob(id)) !== undefined, {
    timeoutMs: 30_000,
    what: `the letter ${id}`,
  });
  return { id, receiptId: receipt.id };
}

const numbers = (tenant: string, table: string) =>
  columnInFile(redis.directory, tenant, `SELECT n FROM ${table} ORDER BY rowid`);

describe('onewriter dead-letters', () => {
  it('lists what was set aside: tenant, statement, error, receipt', async () => {
    const { id: tenant } = await newTenant();
    const first = await setAside(tenant, 'INSERT INTO missing(n) VALUES (?)', [1]);
    const second = await setAside(tenant, "INSERT INTO missing(n) VALUES ('secret')", [], 'order-77');

    const json = await deadLetters('list', '--tenant', tenant, '--json');
    expect(json).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(json.stdout)).toEqual([
      {
        ...second,
        tenant,
        setAsideAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        error: {
          code: 'SQL_ERROR',
          message: expect.stringContaining('no such table: missing'),
          details: expect.objectContaining({ sqliteCode: 'SQLITE_ERROR' }),
        },
        sql: "INSERT INTO missing(n) VALUES ('secret')",
        idempotencyKey: 'order-77',
        canRetry: true,
      },
      expect.objectContaining({ ...first, tenant, idempotencyKey: null, canRetry: true }),
    ]);

    const text = await deadLetters('list', '--tenant', tenant, '--limit', '1');
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(
      new RegExp(
        `^receipt .*\\n─.*\\n${second.receiptId} +${tenant} .*SQL_ERROR no such table: missing .*INSERT INTO missing\\(n\\) VALUES \\(\\?\\)\\n1 letter; there are more: --limit\\n$`,
      ),
    );
    expect((await deadLetters('list', '--tenant', 'nobody')).stdout).toBe('There are no dead letters.\n');
  });

  it('sends a write again when its cause is gone, and it is applied once', async () => {
    const db = await newTenant();
    const { id, receiptId } = await setAside(db.id, 'INSERT INTO late(n) VALUES (?)', [7]);
    // The cause is still there: it is set aside again, as a letter of its own.
    const early = await deadLetters('retry', receiptId);
    const again = new RegExp(`^sent again: ${db.id} ${receiptId} → (w-[0-9a-f-]{36}\\.0)\\n$`).exec(
      early.stdout,
    )?.[1];
    expect(again).toBeDefined();
    await waitFor(async () => (await letters.getJob(`dl-${again}`)) !== undefined, { timeoutMs: 30_000 });
    expect(await letters.getJob(id)).toBeUndefined();

    await db.exec('CREATE TABLE late(n INTEGER)');
    const retried = await deadLetters('retry', `dl-${again}`, '--json');
    expect(retried).toMatchObject({ code: 0, stderr: '' });
    const [change] = JSON.parse(retried.stdout);
    expect(change).toEqual({
      id: `dl-${again}`,
      tenant: db.id,
      receiptId: again,
      newReceiptId: expect.stringMatching(/^w-[0-9a-f-]{36}\.0$/),
    });
    expect(await db.receipt(change.newReceiptId).committed()).toMatchObject({ changes: 1 });
    expect(await letters.getJob(`dl-${again}`)).toBeUndefined();
    expect(await deadLetters('retry', `dl-${again}`)).toEqual({
      code: 1,
      stdout: '',
      stderr: `onewriter: NOT_FOUND There is no dead letter dl-${again}.\n`,
    });
    expect(numbers(db.id, 'late')).toEqual([7]);
  });

  it('applies a write once, also where a retry was cut off before the letter went', async () => {
    const db = await newTenant();
    const { id } = await setAside(db.id, 'INSERT INTO late(n) VALUES (?)', [7]);
    await db.exec('CREATE TABLE late(n INTEGER)');
    const letter = await letters.getJob(id);
    const [first] = JSON.parse((await deadLetters('retry', id, '--json')).stdout);
    await db.receipt(first.newReceiptId).committed();
    // The letter as the first command left it before its last step.
    await letters.add(letter!.name, letter!.data, { jobId: id });
    await connection.hset(letters.toKey(id), 'onewriter.retry', first.newReceiptId.replace(/\.0$/, ''));
    const [second] = JSON.parse((await deadLetters('retry', id, '--json')).stdout);
    expect(second.newReceiptId).toBe(first.newReceiptId);
    await db.prepare('INSERT INTO late(n) VALUES (8)').run();
    expect(numbers(db.id, 'late')).toEqual([7, 8]);
  });

  it('keeps the idempotency key: what was applied meanwhile is not applied again', async () => {
    const db = await newTenant();
    const insert = 'INSERT INTO late(n) VALUES (?)';
    const { receiptId } = await setAside(db.id, insert, [7], 'order-77');
    await db.exec('CREATE TABLE late(n INTEGER)');
    await (await db.enqueue(insert, [7], { idempotencyKey: 'order-77' })).committed();
    const [change] = JSON.parse((await deadLetters('retry', receiptId, '--json')).stdout);
    expect(await db.receipt(change.newReceiptId).committed()).toMatchObject({ changes: 1 });
    expect(numbers(db.id, 'late')).toEqual([7]);
  });

  it('sends all of a tenant again, oldest first, and none of another', async () => {
    const db = await newTenant();
    const other = await newTenant();
    for (const n of [1, 2, 3]) await setAside(db.id, 'INSERT INTO late(n) VALUES (?)', [n]);
    const kept = await setAside(other.id, 'INSERT INTO late(n) VALUES (9)');
    for (const tenant of [db, other]) await tenant.exec('CREATE TABLE late(n INTEGER)');
    const retried = await deadLetters('retry', '--all', '--tenant', db.id, '--json');
    expect(retried.code).toBe(0);
    const changes = JSON.parse(retried.stdout);
    expect(changes).toHaveLength(3);
    await db.receipt(changes[2].newReceiptId).committed();
    expect(numbers(db.id, 'late')).toEqual([1, 2, 3]);
    expect(await letters.getJob(kept.id)).toBeDefined();
    expect(numbers(other.id, 'late')).toEqual([]);
  });

  it('drops letters, by receipt and all of a tenant', async () => {
    const { id: tenant } = await newTenant();
    const one = await setAside(tenant, 'INSERT INTO late(n) VALUES (1)');
    const two = await setAside(tenant, 'INSERT INTO late(n) VALUES (2)');
    expect(await deadLetters('drop', one.receiptId)).toEqual({
      code: 0,
      stdout: `dropped: ${tenant} ${one.receiptId}\n`,
      stderr: '',
    });
    expect(await letters.getJob(one.id)).toBeUndefined();
    expect(await letters.getJob(two.id)).toBeDefined();
    const all = await deadLetters('drop', '--all', '--tenant', tenant, '--json');
    expect(JSON.parse(all.stdout)).toEqual([{ ...two, tenant }]);
    expect(await letters.getJob(two.id)).toBeUndefined();
  });

  it('says that a malformed write cannot be sent again, and continues with the others', async () => {
    const db = await newTenant();
    const { name, prefix } = tenantQueue('default', db.id);
    const jobId = newJobId();
    // A job of another producer than the SDK: readable, but it holds no write.
    const message = { v: PROTOCOL_VERSION, client: 'c-test', seq: 1, at: 0, sql: [], ops: [null] };
    const malformed = { tenant: db.id, receiptId: `${jobId}.0`, sql: '' };
    const error = { code: 'INVALID_ARGUMENT', message: 'The write is not an object.' };
    await letters.add('malformed', { ...malformed, error }, { jobId: `dl-${jobId}.0` });
    await letters.add(
      'strange',
      { ...malformed, error, message: message as unknown as WriteJobMessage },
      { jobId: `dl-${jobId}.1` },
    );
    const good = await setAside(db.id, 'INSERT INTO late(n) VALUES (5)');
    await db.exec('CREATE TABLE late(n INTEGER)');
    const retried = await deadLetters('retry', '--all', '--tenant', db.id);
    expect(retried.code).toBe(1);
    expect(retried.stderr.split('\n')).toEqual([
      expect.stringMatching(
        /^onewriter: INVALID_ARGUMENT The write w-.*\.0 cannot be sent again: it is malformed/,
      ),
      expect.stringMatching(
        /^onewriter: INVALID_ARGUMENT The write w-.*\.0 cannot be sent again: it is malformed/,
      ),
      '',
    ]);
    const receipt = new RegExp(`${good.receiptId} → (\\S+)\\n$`).exec(retried.stdout)![1]!;
    await db.receipt(receipt).committed();
    expect(numbers(db.id, 'late')).toEqual([5]);
    expect(await letters.getJob(`dl-${jobId}.0`)).toBeDefined();
    expect(await connection.llen(`${prefix}:${name}:wait`)).toBe(0);
  });

  it('notifies the broker of what it sends, and lists its tenant', async () => {
    const db = await newTenant();
    const { receiptId } = await setAside(db.id, 'INSERT INTO other(missing) VALUES (1)');
    await broker.stop();
    const keys = groupKeys('default');
    await connection.zrem(keys.tenants, db.id);
    await deadLetters('retry', receiptId);
    expect(await connection.zscore(keys.notifications, db.id)).not.toBeNull();
    expect(await connection.zscore(keys.tenants, db.id)).not.toBeNull();
    broker = await startService('broker', { redisUrl: redis.url, dataDir: redis.directory });
  });

  it('requires a choice of letters', async () => {
    expect(await deadLetters('drop')).toEqual({
      code: 2,
      stdout: '',
      stderr: 'onewriter: INVALID_ARGUMENT Give the ids of letters or receipts, or --all.\n',
    });
  });
});
