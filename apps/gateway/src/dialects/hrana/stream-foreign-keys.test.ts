import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openHranaGateway } from '../../../test-support/hrana-gateway.ts';

const OFF = 'PRAGMA foreign_keys=OFF';
const ON = 'PRAGMA foreign_keys=ON';

let gateway: Awaited<ReturnType<typeof openHranaGateway>>;
let tenants = 0;

beforeAll(async () => {
  gateway = await openHranaGateway();
});
afterAll(() => gateway?.close());

/** A stream of a tenant of its own, one HTTP request after the other. */
function openStream() {
  const tenant = `keys-${++tenants}`;
  const { db } = gateway.writer.open(tenant);
  db.pragma('foreign_keys = ON');
  db.exec('CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p ON DELETE CASCADE)');
  db.exec('INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)');
  let baton: string | null = null;
  return {
    tenant,
    get baton() {
      return baton;
    },
    /** Statements of one request. @returns the first value of each, 'ok', or the code of its error */
    async send(sqls: readonly string[], { closes = false } = {}) {
      const requests: object[] = sqls.map(sql => ({ type: 'execute', stmt: { sql } }));
      if (closes) requests.push({ type: 'close' });
      const response = await fetch(`${gateway.url}/t/${tenant}/v3/pipeline`, {
        method: 'POST',
        headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ baton, requests }),
      });
      const body = await response.json();
      if (response.status !== 200) return [body.code];
      baton = body.baton;
      return body.results.slice(0, sqls.length).map((result: never) => firstValue(result));
    },
    /** One statement as a cursor. @returns the first value, or undefined */
    async cursor(sql: string) {
      const response = await fetch(`${gateway.url}/t/${tenant}/v3/cursor`, {
        method: 'POST',
        headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ baton, batch: { steps: [{ stmt: { sql } }] } }),
      });
      const [head, ...lines] = (await response.text())
        .trim()
        .split('\n')
        .map(line => JSON.parse(line));
      baton = head.baton;
      return lines.find(({ type }) => type === 'row')?.row[0].value;
    },
    request: () => gateway.writer.requests.at(-1)!,
  };
}

// biome-ignore lint/suspicious/noExplicitAny: any answer of the gateway
function firstValue({ type, error, response }: any): unknown {
  return type === 'error' ? error.code : (response.result.rows[0]?.[0]?.value ?? 'ok');
}

describe('PRAGMA foreign_keys=OFF in a request of its own', () => {
  it('holds for what follows on its stream, statements and transactions, until it is set to ON', async () => {
    const stream = openStream();
    expect(await stream.send([OFF])).toEqual(['ok']);
    expect(await stream.send(['PRAGMA foreign_keys'])).toEqual(['0']);
    for (const sql of ['BEGIN', 'SELECT 1', 'DELETE FROM p', 'COMMIT']) await stream.send([sql]);
    expect(await stream.send(['SELECT count(*) FROM c'])).toEqual(['1']);
    expect(await stream.send(['INSERT INTO c VALUES (7)'])).toEqual(['ok']);
    expect(await stream.send([ON])).toEqual(['ok']);
    expect(await stream.send(['INSERT INTO c VALUES (8)'])).toEqual(['SQLITE_CONSTRAINT']);
    expect(await stream.send(['PRAGMA foreign_keys'])).toEqual(['1']);
  });

  it('holds for cursors, too, reads among them', async () => {
    const stream = openStream();
    await stream.cursor(OFF);
    expect(await stream.cursor('PRAGMA foreign_keys')).toBe('0');
    expect(await stream.cursor('SELECT p FROM c WHERE rowid = 1')).toBe('1');
    await stream.cursor(ON);
    expect(await stream.cursor('PRAGMA foreign_keys')).toBe('1');
  });

  it('is not kept by a request that ends its stream: the writer knows that nothing follows', async () => {
    const stream = openStream();
    await stream.send([OFF], { closes: true });
    expect(stream.request()).toMatchObject({ interactive: false, foreignKeys: undefined });
    await stream.send([OFF]);
    expect(stream.request()).toMatchObject({ interactive: true, foreignKeys: 'on' });
    await stream.send(['SELECT 1']);
    expect(stream.request()).toMatchObject({ foreignKeys: 'off' });
  });

  it('makes a stream that is not opened again silently where it is unknown', async () => {
    const stream = openStream();
    await stream.send([OFF]);
    gateway.hrana.streams.end(gateway.hrana.streams.find(stream.baton, stream.tenant, await access()));
    expect(await stream.send(['DELETE FROM p'])).toEqual(['STREAM_EXPIRED']);
  });

  it('holds behind a transaction that was taken away', async () => {
    const stream = openStream();
    for (const sql of [OFF, 'BEGIN', 'DELETE FROM p']) await stream.send([sql]);
    gateway.writer.takeAway(stream.tenant);
    expect(await stream.send(['COMMIT'])).toEqual(['TRANSACTION_TIMEOUT']);
    expect(await stream.send(['ROLLBACK', 'PRAGMA foreign_keys'])).toEqual(['ok', '0']);
  });

  it('needs a token that may write, and so does what follows it', async () => {
    const stream = openStream();
    const reading = await gateway.signToken('*', 'read');
    const response = await fetch(`${gateway.url}/t/${stream.tenant}/v3/pipeline`, {
      method: 'POST',
      headers: { authorization: `Bearer ${reading}` },
      body: JSON.stringify({ requests: [{ type: 'execute', stmt: { sql: OFF } }] }),
    });
    expect(response.status).toBe(403);
  });
});

async function access() {
  const { createTokenVerifier } = await import('@onewriter/runtime');
  return createTokenVerifier({ secret: 'a-secret-for-tests-only' })(gateway.token);
}
