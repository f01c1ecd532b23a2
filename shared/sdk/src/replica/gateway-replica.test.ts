import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { GatewayReplica } from './gateway-replica.ts';

interface Answer {
  readonly status?: number;
  readonly body: unknown;
}

let server: Server;
let replica: GatewayReplica;
let answers: (request: string, body: string) => Answer | undefined;
const seen: string[] = [];

beforeEach(async () => {
  seen.length = 0;
  server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', chunk => {
      body += chunk;
    });
    request.on('end', () => {
      const what = `${request.method} ${request.url}`;
      seen.push(what);
      const answer = answers(what, body);
      if (answer === undefined) return; // never answers
      response.statusCode = answer.status ?? 200;
      response.end(JSON.stringify(answer.body));
    });
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const gatewayUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  replica = new GatewayReplica({ gatewayUrl, token: 'secret', timeoutMs: 2_000 });
});

afterEach(async () => {
  replica.close();
  server.closeAllConnections();
  await new Promise(resolve => server.close(resolve));
});

const BRANCH = { tenant: 'copy', pointCommitSeq: 5, atMs: 1, commitSeq: 6, rows: 2, tables: 1 };
const operation = (state: string, more: object = {}): Answer => ({
  body: { id: 'o-1', state, result: null, error: null, ...more },
});
/** The start of a branch, then one answer for each question, the last again and again. */
const script = (...states: (Answer | undefined)[]) => {
  answers = what =>
    what.startsWith('POST') ? operation('queued') : states.length > 1 ? states.shift() : states[0];
};

/** Acts at the first question after the start of a branch; questions of an earlier call may still arrive before that. */
const whileWaiting = (act: () => void) => {
  let started = false;
  answers = what => {
    if (what.startsWith('POST')) started = true;
    else if (started) act();
    return operation('running');
  };
};

it('asks for the history', async () => {
  const points = [{ toSeq: 5 }];
  answers = () => ({ body: { points } });
  expect(await replica.history('acme', { limit: 7 })).toEqual(points);
  expect(seen).toEqual(['GET /v1/tenants/acme/history?limit=7']);
});

it('waits until a branch is there, whatever the gateway answers meanwhile', async () => {
  let sent: unknown;
  const busy = { status: 503, body: { error: { code: 'TENANT_UNAVAILABLE', message: 'replaced' } } };
  const states = [operation('running'), busy, operation('done', { result: { ...BRANCH, file: '/secret' } })];
  answers = (what, body) => {
    if (!what.startsWith('POST')) return states.shift();
    sent = JSON.parse(body);
    return operation('queued');
  };
  const at = new Date('2026-11-30T12:00:00Z');
  expect(await replica.branch('acme', { as: 'copy', at })).toEqual(BRANCH);
  expect(sent).toEqual({ as: 'copy', at: '2026-11-30T12:00:00.000Z' });
  expect(seen).toEqual([
    'POST /v1/tenants/acme/branch',
    ...['GET /v1/operations/o-1', 'GET /v1/operations/o-1', 'GET /v1/operations/o-1'],
  ]);
});

it('throws what the work ended with, and names it', async () => {
  const error = { code: 'POSITION_UNKNOWN', message: 'no commit 99', details: { tenant: 'acme' } };
  script(operation('failed', { error }));
  await expect(replica.branch('acme', { as: 'copy', at: 99 })).rejects.toMatchObject({
    code: 'POSITION_UNKNOWN',
    details: { tenant: 'acme', operation: 'o-1' },
  });
  script(operation('cancelled'));
  await expect(replica.branch('acme', { as: 'copy' })).rejects.toMatchObject({ code: 'INTERNAL' });
});

it('ends its wait at the deadline, at an abort and at the close, where the work continues', async () => {
  script(operation('running'));
  const continues = { details: { operation: 'o-1' } };
  await expect(replica.branch('acme', { as: 'copy', timeoutMs: 300 })).rejects.toMatchObject({
    ...{ code: 'TIMEOUT', ...continues },
  });
  const stop = new AbortController();
  whileWaiting(() => stop.abort());
  await expect(replica.branch('acme', { as: 'copy', signal: stop.signal })).rejects.toMatchObject({
    ...{ code: 'ABORTED', ...continues },
  });
  whileWaiting(() => replica.close());
  await expect(replica.branch('acme', { as: 'copy' })).rejects.toMatchObject({
    code: 'CLOSED',
    ...continues,
  });
});

it('says what is missing where there is no gateway, and refuses a wrong name', async () => {
  const none = new GatewayReplica({ gatewayUrl: undefined, token: undefined, timeoutMs: 1_000 });
  await expect(none.history('acme', {})).rejects.toMatchObject({ code: 'MISCONFIGURED' });
  await expect(none.branch('acme', { as: 'copy' })).rejects.toThrow(/gatewayUrl/);
  await expect(replica.branch('acme', { as: '../x' })).rejects.toMatchObject({ code: 'INVALID_TENANT' });
  expect(seen).toEqual([]);
});
