import { OnewriterError } from '@onewriter/protocol';
import type { Onewriter } from '@onewriter/sdk';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it } from 'vitest';
import { createLocalTenant } from '../test-support/local-tenant.ts';
import { BackgroundWrites } from './background-writes.ts';
import { loadPage } from './page.ts';
import { createRoutes } from './routes.ts';
import { TenantBoards } from './tenant-boards.ts';

const page = await loadPage();
let app: ReturnType<typeof createRoutes>;
let background: BackgroundWrites;
let faults: unknown[];
let ready: boolean;
/** Set to make Redis silent. */
let redisFault: Error | undefined;
/** Set to make every access to a tenant fail. */
let fault: Error | undefined;

beforeEach(() => {
  const databases = new Map<string, Database.Database>();
  const onewriter = {
    tenant: (id: string) => {
      if (fault) throw fault;
      if (!/^[a-z]+$/.test(id)) throw new OnewriterError('INVALID_TENANT', 'No such form.');
      const database = databases.get(id) ?? new Database(':memory:');
      databases.set(id, database);
      return createLocalTenant(database);
    },
  } as unknown as Onewriter;
  faults = [];
  ready = true;
  redisFault = undefined;
  fault = undefined;
  background = new BackgroundWrites(error => faults.push(error));
  app = createRoutes({
    boards: new TenantBoards(onewriter),
    background,
    page,
    isReady: () => ready,
    ping: async () => {
      if (redisFault) throw redisFault;
    },
    reportFault: error => faults.push(error),
  });
  return () => {
    for (const database of databases.values()) database.close();
  };
});

async function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const response = await app.request(path, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
}

interface CreatedBoard {
  readonly id: string;
  readonly columns: readonly { readonly id: string; readonly title: string }[];
}

async function createBoard(tenant = 'acme'): Promise<CreatedBoard> {
  const { status, body } = await call('POST', `/t/${tenant}/api/boards`, { title: 'Work' });
  expect(status).toBe(201);
  return body;
}

describe('the API', () => {
  it('does what a person at the board does', async () => {
    const me = { 'x-kanban-member': 'ada' };
    await call('PUT', '/t/acme/api/members/ada', { name: 'Ada' });
    const board = await createBoard();
    const [todo, doing] = board.columns;
    const first = await call('POST', `/t/acme/api/columns/${todo!.id}/cards`, { title: 'One' }, me);
    expect(first).toMatchObject({ status: 201, body: { ticket: 1 } });
    const { id } = first.body;
    const edit = { memberId: 'ada', dueDate: '2026-12-24', priority: 'high' };
    expect(await call('PATCH', `/t/acme/api/cards/${id}`, edit, me)).toMatchObject({ status: 204 });
    const move = { columnId: doing!.id, position: 0 };
    expect(await call('POST', `/t/acme/api/cards/${id}/move`, move, me)).toMatchObject({
      status: 200,
      body: { changed: 1 },
    });
    expect(await call('PUT', `/t/acme/api/cards/${id}/tags/${encodeURIComponent('a/b ü')}`)).toMatchObject({
      status: 204,
    });
    const comment = { text: 'Look', attachments: [{ name: 'log', url: 'https://example.com/log' }] };
    expect(await call('POST', `/t/acme/api/cards/${id}/comments`, comment, me)).toMatchObject({
      status: 201,
    });
    await background.settled();

    const card = await call('GET', `/t/acme/api/cards/${id}`);
    expect(card.body).toMatchObject({ ...edit, columnId: doing!.id, tags: ['a/b ü'] });
    expect(card.body.comments).toMatchObject([
      { memberId: 'ada', text: 'Look', attachments: [{ name: 'log' }] },
    ]);
    const overview = await call('GET', '/t/acme/api/overview');
    expect(overview.body.points).toMatchObject([{ memberId: 'ada', total: 4 }]);
    expect(overview.body.activity.map((line: { action: string }) => line.action)).toEqual([
      'comment',
      'add-tag',
      'move-card',
      'edit-card',
      'create-card',
      'create-board',
    ]);
    expect(faults).toEqual([]);
  });

  it('keeps tenants apart', async () => {
    const board = await createBoard('acme');
    expect(await call('GET', `/t/other/api/boards/${board.id}`)).toMatchObject({ status: 404 });
    expect((await call('GET', '/t/other/api/boards')).body).toEqual({ boards: [] });
  });

  it('sends an unchanged overview once', async () => {
    await createBoard();
    await background.settled();
    const { headers } = await call('GET', '/t/acme/api/overview');
    const same = { 'if-none-match': headers.get('etag')! };
    expect((await call('GET', '/t/acme/api/overview', undefined, same)).status).toBe(304);
    await createBoard();
    expect((await call('GET', '/t/acme/api/overview', undefined, same)).status).toBe(200);
  });

  it.each([
    ['POST', '/boards', { title: ' ' }, 400, 'INVALID'],
    ['POST', '/boards', [], 400, 'INVALID'],
    ['GET', '/boards/none', undefined, 404, 'NOT_FOUND'],
    ['POST', '/columns/none/cards', { title: 'x' }, 404, 'NOT_FOUND'],
    ['PATCH', '/cards/none', {}, 400, 'INVALID'],
    ['PATCH', '/cards/none', { dueDate: '24.12.2026' }, 400, 'INVALID'],
    [
      'POST',
      '/cards/none/comments',
      { text: 'x', attachments: [{ name: 'x', url: 'javascript:1' }] },
      400,
      'INVALID',
    ],
    ['GET', '/activity?limit=1000', undefined, 400, 'INVALID'],
    ['GET', '/nothing', undefined, 404, 'NOT_FOUND'],
  ] as const)('%s %s refuses %j', async (method, path, body, status, code) => {
    expect(await call(method, `/t/acme/api${path}`, body)).toMatchObject({ status, body: { code } });
    expect(faults).toEqual([]);
  });

  it('refuses what another site could make a browser send, and what is too large', async () => {
    const form = { 'content-type': 'text/plain' };
    expect(await call('POST', '/t/acme/api/boards', { title: 'x' }, form)).toMatchObject({ status: 400 });
    expect((await app.request('/t/acme/api/boards', { method: 'POST', body: '{' })).status).toBe(400);
    const large = await app.request('/t/acme/api/boards', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ title: 'x'.repeat(300_000) }),
    });
    expect(large.status).toBe(413);
    expect(await call('GET', '/t/-A-/api/boards')).toMatchObject({
      status: 400,
      body: { code: 'INVALID_TENANT' },
    });
  });

  it('says when to come back, reports its own faults, and recovers', async () => {
    fault = new OnewriterError('TENANT_OVERLOADED', 'Too much.', { retryAfterMs: 1_500 });
    const overloaded = await call('GET', '/t/acme/api/boards');
    expect(overloaded).toMatchObject({
      status: 429,
      body: { code: 'TENANT_OVERLOADED', retryAfterMs: 1_500 },
    });
    expect(overloaded.headers.get('retry-after')).toBe('2');
    expect(faults).toEqual([]);
    fault = new Error('secret');
    const broken = await call('GET', '/t/acme/api/boards');
    expect(broken).toMatchObject({ status: 500, body: { code: 'INTERNAL' } });
    expect(JSON.stringify(broken.body)).not.toContain('secret');
    expect(faults).toEqual([fault]);
    fault = undefined;
    expect((await call('GET', '/t/acme/api/boards')).status).toBe(200);
  });
});

describe('the page', () => {
  it('is served with all that it loads, and nothing else', async () => {
    for (const path of ['/', '/t/acme']) {
      const response = await app.request(path);
      expect(response.headers.get('content-security-policy')).toContain("default-src 'self'");
      const assets = (await response.text()).matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g);
      for (const [, asset] of assets) expect((await app.request(asset!)).status).toBe(200);
    }
    for (const [, { text }] of page.assets) {
      for (const [, file] of text.matchAll(/from '\.\/([^']+)'/g)) expect(page.assets.has(file!)).toBe(true);
    }
    expect((await app.request('/assets/..%2Fpackage.json')).status).toBe(404);
  });

  it('is not ready while the process drains', async () => {
    expect((await app.request('/readyz')).status).toBe(200);
    ready = false;
    const response = await app.request('/readyz');
    expect(response.status).toBe(503);
    expect(response.headers.get('connection')).toBe('close');
    expect((await app.request('/livez')).status).toBe(200);
  });

  it('says in its readiness that Redis does not answer', async () => {
    redisFault = new Error('Redis does not answer: no answer in 1000 ms');
    const response = await app.request('/readyz');
    expect([response.status, await response.json()]).toEqual([
      503,
      {
        status: 'not ready',
        reasons: [redisFault.message],
        checks: { draining: 'ok', redis: redisFault.message },
      },
    ]);
  });
});
