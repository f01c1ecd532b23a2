import { type Client, createClient } from '@libsql/client';
import { connect, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack, waitFor } from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/*
 * What becomes of interactive transactions that are taken away, lost or left behind.
 */

/** From then on an open transaction is taken away if others wait. */
const TAKEN_AFTER_MS = 700;

let stack: Stack;
let sdk: Onewriter;
let tenants = 0;

beforeAll(async () => {
  stack = await startStack({
    env: {
      ONEWRITER_TRANSACTION_TIMEOUT_MS: String(TAKEN_AFTER_MS),
      ONEWRITER_TRANSACTION_IDLE_MS: String(TAKEN_AFTER_MS),
      ONEWRITER_WRITE_TIMEOUT_MS: '20000',
    },
  });
  sdk = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});
afterAll(async () => {
  await sdk?.close();
  await stack?.stop();
});

interface Place {
  readonly id: string;
  readonly client: Client;
  /** What is committed. */
  values(): Promise<unknown[]>;
}

/** A tenant of the test's own, with a table. */
async function newPlace(): Promise<Place> {
  const id = `transactions-${++tenants}`;
  const client = createClient({ url: `${stack.gatewayUrl}/t/${id}/`, authToken: stack.token });
  onTestFinished(() => client.close());
  await client.execute('CREATE TABLE t(a)');
  const values = async () =>
    (await client.execute('SELECT a FROM t ORDER BY rowid')).rows.map(row => row['a']);
  return { id, client, values };
}

const insert = (value: string) => ({ sql: 'INSERT INTO t VALUES (?)', args: [value] });

/** What {@link sendRaw} sends next. */
interface RawStream {
  baton: string | null;
}

/** One pipeline of statements, without a client library; the code of each, or `ok`. */
async function sendRaw(place: Place, stream: RawStream, ...sqls: string[]): Promise<unknown[]> {
  const response = await fetch(`${stack.gatewayUrl}/t/${place.id}/v3/pipeline`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      baton: stream.baton,
      requests: sqls.map(sql => ({ type: 'execute', stmt: { sql } })),
    }),
  });
  const answer = (await response.json()) as {
    baton: string | null;
    results?: { error?: { code: string } }[];
    code?: string;
  };
  stream.baton = answer.baton;
  return answer.results?.map(({ error }) => error?.code ?? 'ok') ?? [response.status, answer.code];
}

describe('an open transaction', () => {
  it('is taken away when others wait, and nothing commits until ROLLBACK', async () => {
    const place = await newPlace();
    const stream: RawStream = { baton: null };
    expect(await sendRaw(place, stream, 'BEGIN IMMEDIATE', "INSERT INTO t VALUES ('lost')")).toEqual([
      'ok',
      'ok',
    ]);
    // It waits until the transaction is taken away, and not for as long as its client likes.
    await sdk
      .tenant(place.id)
      .prepare('INSERT INTO t VALUES (?)')
      .run('waited')
      .then(() => undefined);
    const timeout = 'TRANSACTION_TIMEOUT';
    expect(await sendRaw(place, stream, "INSERT INTO t VALUES ('x')", 'SELECT 1', 'COMMIT')).toEqual(
      Array(3).fill(timeout),
    );
    expect(await sendRaw(place, stream, "INSERT INTO t VALUES ('y')", 'BEGIN')).toEqual([timeout, timeout]);
    expect(await place.values()).toEqual(['waited']);
    expect(await sendRaw(place, stream, 'ROLLBACK', "INSERT INTO t VALUES ('after')")).toEqual(['ok', 'ok']);
    expect(await place.values()).toEqual(['waited', 'after']);
  });

  it('is left alone while no other writer waits', async () => {
    const place = await newPlace();
    const transaction = await place.client.transaction('write');
    await transaction.execute(insert('slow'));
    const start = performance.now();
    await waitFor(() => performance.now() - start > 2 * TAKEN_AFTER_MS, { what: 'the lease to be over' });
    await transaction.execute(insert('but sure'));
    await transaction.commit();
    expect(await place.values()).toEqual(['slow', 'but sure']);
  });

  it('that only reads keeps its state, and ends when it is idle for too long', async () => {
    const place = await newPlace();
    const stream: RawStream = { baton: null };
    expect(await sendRaw(place, stream, 'BEGIN READONLY', 'SELECT * FROM t')).toEqual(['ok', 'ok']);
    await waitFor(async () => (await sendRaw(place, stream, 'SELECT 1'))[0] === 'TRANSACTION_TIMEOUT', {
      what: 'the snapshot to be let go',
      intervalMs: 3 * TAKEN_AFTER_MS,
      timeoutMs: 20_000,
    });
    expect(await sendRaw(place, stream, 'ROLLBACK', 'SELECT 1')).toEqual(['ok', 'ok']);
  });

  it('is rolled back when its client leaves without a word, as soon as others wait', async () => {
    const place = await newPlace();
    const stream: RawStream = { baton: null };
    await sendRaw(place, stream, 'BEGIN IMMEDIATE', "INSERT INTO t VALUES ('left behind')");
    await place.client.execute(insert('next'));
    expect(await place.values()).toEqual(['next']);
  });

  it('is lost with its broker, and says so', async () => {
    const place = await newPlace();
    const stream: RawStream = { baton: null };
    await sendRaw(place, stream, 'BEGIN IMMEDIATE', "INSERT INTO t VALUES ('lost')");
    process.kill(stack.currentPids().broker, 'SIGKILL');
    // Either is true: the new broker says that it is gone, or no answer comes in time and the stream has ended.
    const [first] = await sendRaw(place, stream, "INSERT INTO t VALUES ('x')");
    expect(first).toBe('TRANSACTION_TIMEOUT');
    expect(await sendRaw(place, stream, 'ROLLBACK', "INSERT INTO t VALUES ('after')")).toEqual(['ok', 'ok']);
    expect(await place.values()).toEqual(['after']);
  });
});
