import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  CLI_MAIN,
  type Stack,
  spawnProcess,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/* What a token allows, and that nothing outlives it, against a running stack. */

let directory: TemporaryDirectory;
let stack: Stack;

beforeAll(async () => {
  directory = await temporaryDirectory('tokens');
  // A transaction is not taken away for being idle or old while a test runs.
  const LONG = { ONEWRITER_TRANSACTION_TIMEOUT_MS: '60000', ONEWRITER_TRANSACTION_IDLE_MS: '60000' };
  stack = await startStack({ dataDir: directory.path, env: LONG });
  await call(stack.token, 'POST', '/v1/tenants/acme/script', {
    sql: 'CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)',
  });
});
afterAll(async () => {
  await stack?.stop();
  await directory?.remove();
});

/** Runs `onewriter … --data-dir` to its end. */
async function onewriter(...args: string[]) {
  const command = await spawnProcess(
    process.execPath,
    [CLI_MAIN, ...args, '--data-dir', directory.path, '--json'],
    { env: withoutSettings() },
  );
  const { code } = await command.exited;
  expect(command.stderr()).toBe('');
  expect(code).toBe(0);
  return JSON.parse(command.stdout()) as Record<string, string>;
}

async function sign(...args: string[]): Promise<string> {
  return (await onewriter('token', ...args))['token']!;
}

function call(token: string, method: string, path: string, body?: object): Promise<Response> {
  return fetch(`${stack.gatewayUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

const query = { sql: 'SELECT 1 AS one' };

/** Reads a stream to its end. */
async function readToEnd(response: Response): Promise<string> {
  return response.text();
}

describe('a token', () => {
  it.each([
    [
      'read',
      ['--access', 'read'],
      { query: 200, write: 403, export: 200, import: 403, pause: 403, fleet: 403 },
    ],
    ['write', [], { query: 200, write: 200, export: 200, import: 200, pause: 403, fleet: 403 }],
    [
      'rights',
      ['--rights', 'read,admin:tenants'],
      { query: 200, write: 403, export: 403, import: 403, pause: 200, fleet: 403 },
    ],
    [
      'rights for data only',
      ['--rights', 'import,admin:fleet'],
      { query: 403, write: 403, export: 403, import: 200, pause: 403, fleet: 200 },
    ],
  ])('with %s may do what it says', async (_, args, expected) => {
    const token = await sign('--tenants', '*', ...args);
    const rows = await fetch(`${stack.gatewayUrl}/v1/tenants/acme/import?table=t&onConflict=ignore`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/x-ndjson' },
      body: '{"id":1,"name":"a"}\n',
    });
    await rows.text();
    const exported = await call(token, 'GET', '/v1/tenants/acme/export');
    await exported.text();
    const pause = await call(token, 'POST', '/v1/tenants/acme/pause');
    if (pause.status === 200) await call(token, 'POST', '/v1/tenants/acme/resume');
    expect({
      query: (await call(token, 'POST', '/v1/tenants/acme/query', query)).status,
      write: (await call(token, 'POST', '/v1/tenants/acme/query', { sql: "UPDATE t SET name = 'b'" })).status,
      export: exported.status,
      import: rows.status,
      pause: pause.status,
      fleet: (await call(token, 'GET', '/v1/audit')).status,
    }).toEqual(expected);
  });

  it('ends the streams and transactions that it holds when it expires', async () => {
    const { token } = await onewriter('token', '--tenants', 'acme', '--expires-in', '1s');
    // Clocks may differ by five seconds: until then it counts.
    const events = await call(token!, 'GET', '/v1/tenants/acme/events');
    expect(events.status).toBe(200);
    const begun = await call(token!, 'POST', '/t/acme/v3/pipeline', {
      requests: [{ type: 'execute', stmt: { sql: 'BEGIN IMMEDIATE' } }],
    });
    expect(begun.status).toBe(200);
    const text = await readToEnd(events);
    expect(text).toContain('event: error');
    expect(text).toContain('The token has expired.');
    // The transaction is gone: this would wait for it.
    const write = await call(stack.token, 'POST', '/v1/tenants/acme/query', {
      sql: "INSERT INTO t(name) VALUES ('free')",
    });
    expect(write.status).toBe(200);
    const refused = await call(token!, 'POST', '/v1/tenants/acme/query', query);
    expect([refused.status, await refused.json()]).toMatchObject([
      401,
      { error: { message: 'The token has expired.' } },
    ]);
  });

  it.each(['the token', 'its id', 'its subject'])('is revoked by %s, and what it holds ends', async by => {
    const { token, jti } = await onewriter('token', '--tenants', 'acme', '--subject', `ada-${by.length}`);
    const events = await call(token!, 'GET', '/v1/tenants/acme/events');
    expect(events.status).toBe(200);
    if (by === 'the token') await onewriter('token', 'revoke', token!);
    else if (by === 'its id') {
      const answer = await call(stack.token, 'POST', '/v1/tokens/revoke', { jti });
      expect(answer.status).toBe(200);
    } else await onewriter('token', 'revoke', '--subject', `ada-${by.length}`);
    expect(await readToEnd(events)).toContain('The token was revoked.');
    expect((await call(token!, 'POST', '/v1/tenants/acme/query', query)).status).toBe(401);
    expect(await onewriter('token', 'list')).toMatchObject({ revoked: expect.any(Array) });
    const audit = (await (await call(stack.token, 'GET', '/v1/audit')).json()) as { entries: object[] };
    if (by === 'its id')
      expect(audit.entries).toContainEqual(expect.objectContaining({ action: 'token.revoke' }));
  });
});

describe('POST /v1/tokens/revoke', () => {
  const revoke = (body: object) => call(stack.token, 'POST', '/v1/tokens/revoke', body);

  it('takes the token itself, keeps only what names it, and ends all that it holds', async () => {
    const { token, jti } = await onewriter('token', '--tenants', 'acme');
    const events = await call(token!, 'GET', '/v1/tenants/acme/events');
    expect(events.status).toBe(200);
    const begun = await call(token!, 'POST', '/t/acme/v3/pipeline', {
      requests: [{ type: 'execute', stmt: { sql: 'BEGIN IMMEDIATE' } }],
    });
    expect(begun.status).toBe(200);
    const answer = await revoke({ token });
    expect([answer.status, await answer.json()]).toMatchObject([200, { kind: 'jti', value: jti }]);
    expect(await readToEnd(events)).toContain('The token was revoked.');
    expect((await call(token!, 'POST', '/v1/tenants/acme/query', query)).status).toBe(401);
    // The transaction is gone: this would wait for it.
    const write = await call(stack.token, 'POST', '/v1/tenants/acme/query', {
      sql: "INSERT INTO t(name) VALUES ('revoked')",
    });
    expect(write.status).toBe(200);
    const listed = await call(stack.token, 'GET', '/v1/tokens/revoked');
    expect(await listed.text()).not.toContain(token);
  }, 20_000);

  it('refuses what would revoke nothing', async () => {
    const { token, jti } = await onewriter('token', '--tenants', 'acme');
    expect((await revoke({ token: jti })).status).toBe(400);
    expect((await revoke({ jti: token })).status).toBe(400);
    expect((await revoke({ subject: token })).status).toBe(400);
    expect((await call(token!, 'POST', '/v1/tenants/acme/query', query)).status).toBe(200);
    expect((await revoke({ token: '0123456789abcdef' })).status).toBe(200);
  });
});

describe('a session of the dashboard', () => {
  async function logIn(token: string): Promise<string> {
    const response = await fetch(`${stack.dashboardUrl}/login`, {
      method: 'POST',
      redirect: 'manual',
      body: new URLSearchParams({ token, next: '/' }),
    });
    expect(response.status).toBe(303);
    const cookie = response.headers.get('set-cookie')!;
    expect(cookie).toMatch(/HttpOnly.*SameSite=Strict/);
    return cookie.split(';')[0]!;
  }
  const visit = (cookie: string, path = '/') =>
    fetch(`${stack.dashboardUrl}${path}`, { headers: { cookie }, redirect: 'manual' });

  it('is not the token, lives while it is used, and ends with the logout, its pages too', async () => {
    const cookie = await logIn(stack.token);
    expect(cookie).not.toContain(stack.token);
    expect((await visit(cookie)).status).toBe(200);
    const live = await visit(cookie, '/live');
    const [other] = [await logIn(stack.token)];
    await fetch(`${stack.dashboardUrl}/logout`, { method: 'POST', headers: { cookie }, redirect: 'manual' });
    expect((await visit(cookie)).status).not.toBe(200);
    await live.text();
    expect((await visit(other!)).status).toBe(200);
  });

  it('ends with its token', async () => {
    const { token, jti } = await onewriter('token', '--tenants', '*', '--access', 'admin');
    const cookie = await logIn(token!);
    expect((await visit(cookie)).status).toBe(200);
    await onewriter('token', 'revoke', jti!);
    await waitFor(async () => (await visit(cookie)).status !== 200, { what: 'the end of the session' });
  });
});

describe('onewriter up', () => {
  it('makes files that no other user of the machine may read', () => {
    const folder = join(directory.path, 'tenants', 'acme');
    const paths = [
      join(directory.path, 'tenants'),
      folder,
      ...readdirSync(folder).map(name => join(folder, name)),
    ];
    expect(paths.length).toBeGreaterThan(4);
    for (const path of paths) expect([path, statSync(path).mode & 0o077]).toEqual([path, 0]);
  });

  it('prints neither the token nor a password where the output is no terminal', async () => {
    const folder = await temporaryDirectory('quiet-up');
    const up = await spawnProcess(
      process.execPath,
      [CLI_MAIN, 'up', '--data-dir', folder.path, '--gateway-port', '0', '--dashboard-port', '0'],
      { env: withoutSettings() },
    );
    onTestFinished(async () => {
      await up.stop(45_000);
      await folder.remove();
    });
    await waitFor(() => up.stdout().includes('Ctrl-C'), { timeoutMs: 60_000, what: 'the ready message' });
    const printed = up.stdout() + up.stderr();
    expect(printed).not.toMatch(/eyJ[\w-]+\.[\w-]+\.[\w-]+/);
    expect(printed).toMatch(/Redis +redis:\/\/default:\*\*\*@127\.0\.0\.1/);
    expect(printed).toContain(`onewriter token --tenants '*' --access admin --data-dir ${folder.path}`);
  });
});
