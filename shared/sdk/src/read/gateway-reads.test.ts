import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WaitOptions } from '../types.ts';
import { GatewayReads } from './gateway-reads.ts';

interface Answer {
  readonly status?: number;
  readonly body: unknown;
}

let server: Server;
let reads: GatewayReads;
let answer: (request: IncomingMessage, body: string) => Answer | undefined;
const seen: { method: string; url: string; authorization: string; body: string }[] = [];

beforeEach(async () => {
  seen.length = 0;
  server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', chunk => {
      body += chunk;
    });
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      seen.push({ method, url, authorization: headers.authorization ?? '', body });
      const found = answer(request, body);
      if (found === undefined) return; // never answers
      response.statusCode = found.status ?? 200;
      response.end(typeof found.body === 'string' ? found.body : JSON.stringify(found.body));
    });
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const gatewayUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  reads = new GatewayReads({ gatewayUrl, token: 'secret', maxResultRows: 2, timeoutMs: 2_000 });
});

afterEach(async () => {
  reads.close();
  server.closeAllConnections();
  await new Promise(resolve => server.close(resolve));
});

const request = (options: WaitOptions = {}) => ({
  tenant: 'acme',
  sql: 'SELECT ?',
  params: [2n ** 60n],
  options,
});
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    error => error.code,
  );

describe('GatewayReads', () => {
  it('sends exact values and gives exact values', async () => {
    const rows = [[{ i: '1' }, { i: '9007199254740993' }, { b: 'AQI=' }, null, 'x', { f: 'Infinity' }]];
    answer = () => ({ body: { columns: ['a', 'b', 'c', 'd', 'e', 'f'], rows } });
    const row = {
      a: 1,
      b: 9007199254740993n,
      c: Buffer.from([1, 2]),
      d: null,
      e: 'x',
      f: Number.POSITIVE_INFINITY,
    };
    expect(await reads.get(request())).toEqual(row);
    expect(await reads.all(request())).toEqual([row]);
    expect((await reads.allArrays(request())).rows).toEqual([Object.values(row)]);
    const exact = await reads.allArrays({ ...request(), safeIntegers: true });
    expect(exact.rows).toEqual([[1n, ...Object.values(row).slice(1)]]);
    expect(seen[0]).toMatchObject({
      method: 'POST',
      url: '/v1/tenants/acme/query',
      authorization: 'Bearer secret',
    });
    expect(JSON.parse(seen[0]!.body)).toEqual({
      sql: 'SELECT ?',
      params: [{ i: '1152921504606846976' }],
      values: 'tagged',
    });
  });

  it('passes on the errors of the gateway, and bounds results', async () => {
    answer = () => ({
      status: 404,
      body: { error: { code: 'TENANT_NOT_FOUND', message: 'no', requestId: 'r' } },
    });
    await expect(reads.get(request())).rejects.toMatchObject({
      code: 'TENANT_NOT_FOUND',
      details: { tenant: 'acme', requestId: 'r' },
    });
    answer = () => ({ body: { columns: ['a'], rows: [[1], [2], [3]] } });
    expect(await codeOf(reads.all(request()))).toBe('RESULT_TOO_LARGE');
  });

  it('distinguishes deadline, abort, another server and an outage', async () => {
    answer = () => undefined;
    expect(await codeOf(reads.get(request({ timeoutMs: 50 })))).toBe('TIMEOUT');
    const abort = new AbortController();
    const aborted = codeOf(reads.get(request({ signal: abort.signal })));
    setTimeout(() => abort.abort(), 20);
    expect(await aborted).toBe('ABORTED');
    answer = () => ({ status: 200, body: '<html>' });
    expect(await codeOf(reads.get(request()))).toBe('MISCONFIGURED');
    answer = () => ({ status: 502, body: '<html>' });
    expect(await codeOf(reads.get(request()))).toBe('TENANT_UNAVAILABLE');
    server.closeAllConnections();
    await new Promise(resolve => server.close(resolve));
    expect(await codeOf(reads.get(request()))).toBe('TENANT_UNAVAILABLE');
    reads.close();
    expect(await codeOf(reads.get(request()))).toBe('CLOSED');
  });

  it('asks for receipts where it cannot read the ledger', async () => {
    const job = 'w-01a1fc44-4ddc-7000-9c52-0d2270017207';
    answer = ({ url }) => {
      if (url?.endsWith('.0'))
        return {
          body: { state: 'committed', commitSeq: 5, result: { changes: 1, lastInsertRowid: { i: '7' } } },
        };
      if (url?.endsWith('.1'))
        return { body: { state: 'failed', error: { code: 'SQL_ERROR', message: 'no' } } };
      const result = {
        changes: 2,
        lastInsertRowid: { i: '0' },
        statements: [{ changes: 2, columns: ['a', 'b'], rows: [[{ i: '9' }, 9]] }],
      };
      return { body: { state: 'committed', commitSeq: 6, result } };
    };
    expect(await reads.look('acme', job, [0, 1, 2])).toEqual({
      kind: 'found',
      commitSeq: 6,
      results: [
        [1, 7, 5],
        { e: { code: 'SQL_ERROR', message: 'no' } },
        { t: [{ c: ['a', 'b'], r: [[9, { f: '9' }]], n: 2, i: 0 }], seq: 6 },
      ],
    });
    answer = () => ({ body: { state: 'pending' } });
    seen.length = 0;
    expect(await reads.look('acme', job, [0, 1, 2])).toEqual({ kind: 'absent' });
    expect(seen).toHaveLength(1);
  });
});
