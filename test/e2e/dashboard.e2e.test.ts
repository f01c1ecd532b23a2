import { existsSync } from 'node:fs';
import {
  type DeadLetterMessage,
  deadLetterId,
  deadLetterQueue,
  groupKeys,
  newJobId,
  PROTOCOL_VERSION,
  type QueueAddress,
  tenantQueue,
  type WriteJobMessage,
} from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { pauseTenant, resumeTenant, withHeldTenant } from '@onewriter/tenants';
import {
  type Service,
  startRedis,
  startService,
  TEST_TOKEN_SECRET,
  type TestRedis,
  waitFor,
} from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { exportSPKI, generateKeyPair, SignJWT } from 'jose';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/*
 * The dashboard alone, on a Redis whose queues this file fills itself: there is no broker that fetches the jobs
 * while a person, here a real Chromium, looks at them.
 */

const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
const CHROMIUM_ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const INSERT = 'INSERT INTO tasks(id, title, cover) VALUES (?, ?, ?)';
const UPDATE = 'UPDATE tasks SET position = @position WHERE id = @id';

let redis: TestRedis;
let connection: Redis;
let dashboard: Service;
let admin: string;

beforeAll(async () => {
  redis = await startRedis();
  connection = new Redis(redis.url, { maxRetriesPerRequest: null });
  admin = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
  await addWrites('acme', { title: 'Paint the fence' });
  await addWrites('globex', { title: 'Call the bank' });
  dashboard = await startService('dashboard', { redisUrl: redis.url, dataDir: redis.directory });
});

afterAll(async () => {
  await dashboard?.stop();
  connection?.disconnect();
  await redis?.stop();
});

function openQueue(address: QueueAddress): Queue {
  return new Queue(address.name, { connection, prefix: address.prefix });
}

/** What a client sends: an insert with a blob, and a transaction; and the note that the tenant was active. */
async function addWrites(tenant: string, { title = 'x', at = Date.now() } = {}): Promise<string> {
  const message: WriteJobMessage = {
    v: PROTOCOL_VERSION,
    client: 'c-test',
    seq: 1,
    at,
    sql: [INSERT, UPDATE],
    ops: [
      { s: 0, p: ['t1', title, { b: Buffer.alloc(5_000, 0xab).toString('base64') }] },
      {
        t: [{ s: 1, p: { position: { i: '9007199254740993' }, id: 't1' }, e: { changes: 1 } }],
        k: 'order-77',
      },
    ],
  };
  const jobId = newJobId();
  await openQueue(tenantQueue('default', tenant)).add(`${tenant} · 2 writes · ${INSERT}`, message, { jobId });
  await connection.zadd(groupKeys('default').tenants, at, tenant);
  return jobId;
}

async function addDeadLetter(
  tenant: string,
  timestamp = Date.now(),
  message?: WriteJobMessage,
): Promise<string> {
  const data: DeadLetterMessage = {
    tenant,
    receiptId: `${newJobId()}.0`,
    sql: INSERT,
    error: { code: 'CONSTRAINT_VIOLATION', message: 'UNIQUE constraint failed: tasks.id' },
    message,
  };
  const jobId = deadLetterId(data.receiptId);
  await openQueue(deadLetterQueue('default')).add(`${tenant} · CONSTRAINT_VIOLATION`, data, {
    jobId,
    timestamp,
  });
  return jobId;
}

function request(path: string, init: RequestInit & { token?: string } = {}): Promise<Response> {
  const { token = admin, ...rest } = init;
  const headers = { authorization: `Bearer ${token}`, ...rest.headers };
  return fetch(`${dashboard.url}${path}`, { redirect: 'manual', ...rest, headers });
}

it('shows on the overview who keeps tenants still, why and since when', async () => {
  // A resume would apply nothing here: no broker leads.
  onTestFinished(() => resumeTenant(connection, 'default', 'globex'));
  await pauseTenant(connection, 'default', 'globex', 'ada@laptop', 'to copy <the file>');
  const hold = { name: 'restore', who: 'bob@host', reason: 'from /backups/a.db', exclusive: true } as const;
  const row = (page: string, tenant: string) => {
    const [found] = new RegExp(`<tr data-key="${tenant}">.*?</tr>`, 's').exec(page) ?? [];
    return (found ?? '')
      .replaceAll(/<[^>]*>/g, ' ')
      .replaceAll(/\s+/g, ' ')
      .trim();
  };
  const overview = async () => (await request('/')).text();
  await withHeldTenant(connection, 'default', 'acme', hold, async () => {
    await waitFor(async () => row(await overview(), 'acme') !== '', {
      timeoutMs: 20_000,
      what: 'the held tenant on the overview',
    });
    const page = await overview();
    expect(row(page, 'globex')).toMatch(
      /^globex paused Paused by ada@laptop \d+ s ago: to copy &lt;the file&gt;; 1 job waiting \d+ s$/,
    );
    expect(row(page, 'acme')).toMatch(
      /^acme held: restore Held by a restore of bob@host (now|\d+ s ago): from \/backups\/a\.db; 1 job waiting \d+ s$/,
    );
    expect(page).toContain(
      'globex is paused by ada@laptop (to copy &lt;the file&gt;) and 1 job waits in its queue.',
    );
  });
  await waitFor(async () => row(await overview(), 'acme') === '', {
    timeoutMs: 20_000,
    what: 'the tenant that was let go',
  });
});

describe('in a browser', () => {
  let browser: Browser;

  beforeAll(async () => {
    if (!existsSync(CHROMIUM)) {
      throw new Error(
        `There is no Chromium at ${CHROMIUM}: install it (apt-get install chromium) or set CHROMIUM_PATH.`,
      );
    }
    browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_ARGUMENTS });
  });
  afterAll(async () => void (await browser?.close()));

  /** A page of a new person, and what goes wrong on it or is asked from elsewhere. */
  async function newPage(): Promise<{ page: Page; problems: string[] }> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 1_000 } });
    onTestFinished(async () => void (await context.close()));
    const page = await context.newPage();
    const problems: string[] = [];
    page.on('pageerror', error => problems.push(error.message));
    page.on('console', message => {
      if (message.type() === 'error') problems.push(message.text());
    });
    page.on('request', asked => {
      const url = asked.url();
      if (!/^(data|blob):/.test(url) && !url.startsWith(dashboard.url)) problems.push(`asked ${url}`);
    });
    return { page, problems };
  }

  async function logIn(page: Page, path = '/'): Promise<void> {
    await page.goto(dashboard.url + path);
    await page.getByLabel('Token').fill(admin);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByText('Loading').waitFor({ state: 'detached' });
  }

  it('logs in, finds the tenant’s queue, opens a job and reads its statement', async () => {
    const { page, problems } = await newPage();
    await logIn(page);
    expect(new URL(page.url()).pathname).toBe('/');
    await page.getByRole('link', { name: 'Queues' }).click();

    await page.getByRole('link', { name: 'tenant.acme' }).click();
    await page.getByText(`acme · 2 writes · ${INSERT}`).waitFor();
    await page.getByRole('link', { name: /^w-/ }).click();
    await page.waitForURL(/\/queues\/queue\/tenant\.acme\/w-/);
    await page.getByText('Paint the fence').waitFor();
    const text = (await page.locator('#root').textContent())!.replace(/\s+/g, ' ');
    expect(text).toContain(`sql:"${INSERT}"`);
    expect(text).toContain('blob, 5000 bytes: abababababababababababababababab…');
    expect(text).toContain(`sql:"${UPDATE}"`);
    expect(text).toContain('9007199254740993 (integer)');
    expect(text).toContain('idempotencyKey:"order-77"');
    expect(text).not.toMatch(/retry/i);
    if (process.env['SCREENSHOTS']) await page.screenshot({ path: `${process.env['SCREENSHOTS']}/job.png` });
    expect(problems).toEqual([]);
  });

  it('says that a token is wrong, and continues to the page that the person wanted', async () => {
    const { page } = await newPage();
    await page.goto(`${dashboard.url}/queues/queue/tenant.globex`);
    await page.getByLabel('Token').fill('wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').waitFor();
    expect(await page.getByRole('alert').textContent()).toBe('That token is not valid.');
    await page.getByLabel('Token').fill(admin);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByText('Call the bank').waitFor();
    expect(new URL(page.url()).pathname).toBe('/queues/queue/tenant.globex');
  });

  it('removes a dead letter that a person has dealt with', async () => {
    const id = await addDeadLetter('acme');
    const { page, problems } = await newPage();
    await logIn(page, `/queues/queue/dead-letters/${id}`);
    await page.getByText('UNIQUE constraint failed: tasks.id').first().waitFor();
    if (process.env['SCREENSHOTS']) await page.screenshot({ path: `${process.env['SCREENSHOTS']}/dead.png` });
    await page.locator('button:has(.lucide-trash2)').click();
    await page.getByRole('button', { name: 'Confirm' }).click();
    const removed = async () => (await openQueue(deadLetterQueue('default')).getJobState(id)) === 'unknown';
    await waitFor(removed, { what: 'the removal' });
    // The page asks for the letter every few seconds, and may do so once more before it goes back to the list.
    expect(problems.filter(problem => !problem.includes('404 (Not Found)'))).toEqual([]);
  });

  it('sends a dead letter again with the board’s own button, and writes down who did it', async () => {
    const message: WriteJobMessage = {
      v: PROTOCOL_VERSION,
      client: 'c-gone',
      seq: 7,
      at: 1,
      sql: ['INSERT INTO tasks(id) VALUES (?)'],
      ops: [{ s: 0, p: ['again'], k: 'order-78', d: 1 }],
    };
    const id = await addDeadLetter('globex', Date.now() - 1_000, message);
    const { page, problems } = await newPage();
    await logIn(page, '/queues/queue/dead-letters');
    await page.getByText('globex · CONSTRAINT_VIOLATION').waitFor();
    await page.getByText('CONSTRAINT_VIOLATION: UNIQUE constraint failed: tasks.id').waitFor();
    await page.locator('button:has(.lucide-refresh-cw)').first().click();
    await page.getByRole('button', { name: 'Confirm' }).click();
    const letters = openQueue(deadLetterQueue('default'));
    await waitFor(async () => (await letters.getJobState(id)) === 'unknown', { what: 'the letter to go' });
    const [job] = await openQueue(tenantQueue('default', 'globex')).getJobs(['waiting'], 0, 0);
    expect(job?.data).toMatchObject({ sql: message.sql, ops: message.ops });
    const [[, fields]] = (await connection.xrevrange(groupKeys('default').audit, '+', '-', 'COUNT', 1)) as [
      [string, string[]],
    ];
    expect(fields.join(' ')).toMatch(/action dead-letter\.retry tenant globex outcome ok/);
    await page.goto(`${dashboard.url}/audit`);
    await page.getByText('dead-letter.retry').first().waitFor();
    expect(problems.filter(problem => !problem.includes('404 (Not Found)'))).toEqual([]);
  });

  it('finds a tenant that was not active lately, and logs out', async () => {
    await addWrites('dusty', { at: 1, title: 'Old work' });
    for (let index = 0; index < 60; index++) {
      await connection.zadd(groupKeys('default').tenants, Date.now(), `busy-${index}`);
    }
    onTestFinished(async () => {
      const busy = Array.from({ length: 60 }, (_, index) => `busy-${index}`);
      await connection.zrem(groupKeys('default').tenants, ...busy);
    });
    const { page } = await newPage();
    await logIn(page, '/queues?tenant=nobody');
    await page.getByText('None that was written to has that in its id').waitFor();
    await page.getByRole('searchbox', { name: 'Tenant' }).fill('dus');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'dusty' }).click();
    await page.getByRole('link', { name: 'Its queue' }).click();
    await page.getByText('Old work').waitFor();

    await page.goto(`${dashboard.url}/logout`);
    await page.getByLabel('Token').waitFor();
    await page.goto(`${dashboard.url}/queues`);
    expect(new URL(page.url()).pathname).toBe('/login');
  });
});

describe('access', () => {
  it('needs a token for everything but the probes and the login form', async () => {
    for (const path of ['/livez', '/readyz', '/login']) {
      expect((await fetch(dashboard.url + path)).status).toBe(200);
    }
    for (const path of [
      '/',
      '/queues',
      '/queues/api/queues',
      '/tenants',
      '/queues/static/js/main.js',
      '/nowhere',
    ]) {
      const response = await fetch(dashboard.url + path, { redirect: 'manual' });
      expect([path, response.status]).toEqual([path, 401]);
      expect(await response.json()).toMatchObject({ code: 'UNAUTHENTICATED' });
    }
  });

  it('takes a bearer token, Basic credentials and the cookie of the login form', async () => {
    expect((await request('/queues/api/queues')).status).toBe(200);
    const basic = `Basic ${Buffer.from(`anyone:${admin}`).toString('base64')}`;
    expect((await request('/queues/api/queues', { headers: { authorization: basic } })).status).toBe(200);

    const login = await fetch(`${dashboard.url}/login`, {
      method: 'POST',
      redirect: 'manual',
      body: new URLSearchParams({ token: admin, next: 'https://elsewhere.example/' }),
    });
    expect([login.status, login.headers.get('location')]).toEqual([303, '/']);
    const cookie = login.headers.get('set-cookie')!;
    expect(cookie).toMatch(/; HttpOnly/);
    expect(cookie).toMatch(/; SameSite=Strict/);
    const response = await fetch(`${dashboard.url}/queues/api/queues`, {
      headers: { cookie: cookie.split(';')[0]! },
    });
    expect(response.status).toBe(200);
  });

  it('is for operators of all tenants', async () => {
    for (const access of [
      { tenants: '*', access: 'write' },
      { tenants: ['acme'], access: 'admin' },
    ] as const) {
      const token = await signToken(TEST_TOKEN_SECRET, access);
      expect((await request('/queues/api/queues', { token })).status).toBe(403);
    }
    const other = await signToken('another-secret-of-tests', { tenants: '*', access: 'admin' });
    expect((await request('/queues/api/queues', { token: other })).status).toBe(401);
  });

  it('changes nothing in a tenant’s queue, whatever is asked', async () => {
    const jobId = await addWrites('acme');
    const letterId = await addDeadLetter('acme');
    const queue = '/queues/api/queues/tenant.acme';
    for (const [method, path] of [
      ['PUT', `${queue}/pause`],
      ['PUT', `${queue}/empty`],
      ['PUT', `${queue}/obliterate`],
      ['PUT', `${queue}/clean/waiting`],
      ['PUT', `${queue}/${jobId}/clean`],
      ['PUT', `${queue}/${jobId}/retry`],
      ['PATCH', `${queue}/${jobId}/update-data`],
      ['POST', `${queue}/add`],
      ['PUT', '/queues/api/queues/pause'],
      ['PUT', '/queues/api/queues/dead-letters/pause'],
      ['POST', '/queues/api/queues/dead-letters/add'],
      ['PATCH', `/queues/api/queues/dead-letters/${letterId}/update-data`],
    ] as const) {
      const response = await request(path, { method, body: '{}' });
      expect([path, response.status]).toEqual([path, 403]);
    }
    expect(await openQueue(tenantQueue('default', 'acme')).getJobState(jobId)).toBe('waiting');
  });

  it('removes all dead letters but those of the last seconds', async () => {
    const old = await addDeadLetter('acme', Date.now() - 60_000);
    const young = await addDeadLetter('acme');
    const { status } = await request('/queues/api/queues/dead-letters/clean/failed', { method: 'PUT' });
    const letters = openQueue(deadLetterQueue('default'));
    const states = [await letters.getJobState(old), await letters.getJobState(young)];
    expect([status, ...states]).toEqual([200, 'unknown', 'waiting']);
  });

  it('refuses changes that another site makes a browser send', async () => {
    const id = await addDeadLetter('acme');
    const path = `/queues/api/queues/dead-letters/${id}/clean`;
    for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
      expect((await request(path, { method: 'PUT', headers })).status).toBe(403);
    }
    expect((await request(path, { method: 'PUT', headers: { origin: dashboard.url } })).status).toBe(204);
  });

  it('sends all dead letters again at once, and leaves those that cannot be', async () => {
    const message: WriteJobMessage = {
      v: PROTOCOL_VERSION,
      client: 'c-gone',
      seq: 1,
      at: 1,
      sql: ['SELECT 1'],
      ops: [{ s: 0, d: 1 }],
    };
    const good = await addDeadLetter('acme', Date.now(), message);
    const malformed = await addDeadLetter('acme');
    const response = await request('/queues/api/queues/dead-letters/retry/failed', { method: 'PUT' });
    expect(await response.json()).toMatchObject({ retried: 1 });
    const letters = openQueue(deadLetterQueue('default'));
    expect([await letters.getJobState(good), await letters.getJobState(malformed)]).toEqual([
      'unknown',
      'waiting',
    ]);
  });

  it('takes what the gateway takes: a fixed admin token, and tokens that a public key signed', async () => {
    const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true });
    const service = await startService('dashboard', {
      redisUrl: redis.url,
      dataDir: redis.directory,
      env: {
        ONEWRITER_ADMIN_TOKEN: 'a-fixed-token-of-the-tests',
        ONEWRITER_TOKEN_PUBLIC_KEY: await exportSPKI(publicKey),
      },
    });
    onTestFinished(async () => void (await service.stop()));
    const sign = (tenants: unknown) =>
      new SignJWT({ tenants, access: 'admin' })
        .setProtectedHeader({ alg: 'EdDSA' })
        .setExpirationTime('1h')
        .sign(privateKey);
    const statusWith = async (token: string) =>
      (await fetch(`${service.url}/session`, { headers: { authorization: `Bearer ${token}` } })).status;
    expect(await statusWith('a-fixed-token-of-the-tests')).toBe(204);
    expect(await statusWith(await sign('*'))).toBe(204);
    expect(await statusWith(await sign(['acme']))).toBe(403);
    expect(await statusWith('a-fixed-token-of-the-test')).toBe(401);
  });

  it('sends a policy that keeps scripts and frames out', async () => {
    const ours = (await request('/tenants')).headers.get('content-security-policy');
    expect(ours).toMatch(
      /default-src 'none';.*script-src 'self';.*style-src 'self';.*frame-ancestors 'none'/,
    );
    expect(ours).not.toContain('unsafe');
    const response = await request('/queues');
    expect(response.headers.get('content-security-policy')).toMatch(
      /script-src 'self';.*frame-ancestors 'none'/,
    );
    expect(response.headers.get('x-frame-options')).toBe('DENY');
    expect(await response.text()).not.toMatch(/https?:\/\//);
  });
});

describe('the process', () => {
  it('uses one connection and shows a bounded number of tenants, however many there are', async () => {
    const many = Array.from({ length: 300 }, (_, index) => `many-${index}`);
    const now = Date.now();
    for (const [index, tenant] of many.entries()) {
      await connection.zadd(groupKeys('default').tenants, now + index, tenant);
    }
    const service = await startService('dashboard', { redisUrl: redis.url, dataDir: redis.directory });
    onTestFinished(async () => {
      await connection.zrem(groupKeys('default').tenants, ...many);
      await service.stop();
    });
    const countConnections = async () =>
      ((await connection.client('LIST')) as string).trim().split('\n').length;
    const before = await countConnections();
    const headers = { authorization: `Bearer ${admin}` };
    for (const tenant of many.slice(0, 40)) {
      const { status } = await fetch(`${service.url}/queues?tenant=${tenant}`, {
        headers,
        redirect: 'manual',
      });
      expect(status).toBe(302);
    }
    const response = await fetch(`${service.url}/queues/api/queues`, { headers });
    const { queues } = (await response.json()) as { queues: { name: string }[] };
    const names = queues.map(queue => queue.name);
    expect(names).toHaveLength(1 + 50 + 20);
    for (const shown of [
      'dead-letters',
      'tenant.many-299',
      'tenant.many-250',
      'tenant.many-39',
      'tenant.many-20',
    ]) {
      expect(names).toContain(shown);
    }
    expect(await countConnections()).toBe(before);
    // Looking writes nothing; nor does searching and opening.
    expect((await fetch(`${service.url}/tenants?q=many`, { headers })).status).toBe(200);
    expect((await fetch(`${service.url}/tenants/many-7`, { headers })).status).toBe(200);
    expect(await connection.keys('ow:default:{many-*')).toEqual([]);
    expect(service.logs()).not.toMatch(/MaxListeners|Warning/);
  });

  it('is not ready while Redis is away, says so at once, and comes back', async () => {
    await using own = await startRedis();
    await using service = await startService('dashboard', { redisUrl: own.url, dataDir: own.directory });
    own.kill('SIGSTOP');
    const start = performance.now();
    const unready = await fetch(`${service.url}/readyz`);
    expect([unready.status, await unready.json()]).toEqual([
      503,
      {
        status: 'not ready',
        reasons: [expect.stringContaining('Redis does not answer')],
        checks: { draining: 'ok', redis: expect.stringContaining('Redis does not answer') },
      },
    ]);
    expect(performance.now() - start).toBeLessThan(5_000);
    expect((await fetch(`${service.url}/livez`)).status).toBe(200);
    own.kill('SIGCONT');
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
  });

  it('shows what it knows while Redis is away, and says of the rest that it is Redis', async () => {
    await using own = await startRedis();
    await using service = await startService('dashboard', { redisUrl: own.url, dataDir: own.directory });
    const headers = { authorization: `Bearer ${admin}` };
    const look = (path: string) => fetch(`${service.url}${path}`, { headers });
    // Ready before anyone has looked: that is when people first open it.
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
    own.kill('SIGKILL');
    const overview = await look('/');
    expect([overview.status, await overview.text()]).toEqual([200, expect.stringContaining('Overview')]);
    expect((await look('/metrics')).status).toBe(200);
    for (const path of ['/tenants', '/tenants/acme', '/audit']) {
      const answer = await look(path);
      expect([path, answer.status, await answer.json()]).toEqual([
        path,
        503,
        { error: expect.stringContaining('Redis does not answer'), code: 'QUEUE_UNAVAILABLE' },
      ]);
    }
    expect(service.logs()).not.toContain('Request failed');
  });

  it('says that Redis refuses it where the password was changed', async () => {
    await using own = await startRedis();
    await using service = await startService('dashboard', { redisUrl: own.url, dataDir: own.directory });
    const other = new Redis(own.url);
    onTestFinished(() => other.disconnect());
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
    await other.config('SET', 'requirepass', 'another');
    await other.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    const headers = { authorization: `Bearer ${admin}` };
    const tenants = await fetch(`${service.url}/tenants`, { headers });
    expect([tenants.status, await tenants.json()]).toEqual([
      503,
      { error: expect.stringContaining('NOAUTH'), code: 'QUEUE_UNAVAILABLE' },
    ]);
    expect((await fetch(service.url, { headers })).status).toBe(200);
  });

  it('drains on SIGTERM and exits 0', async () => {
    const service = await startService('dashboard', { redisUrl: redis.url, dataDir: redis.directory });
    expect(await service.stop()).toEqual({ code: 0, signal: null });
  });

  it('never runs open: without a secret it makes one, and prints a token for it once', async () => {
    const service = await startService('dashboard', {
      redisUrl: redis.url,
      dataDir: redis.directory,
      env: { ONEWRITER_TOKEN_SECRET: undefined },
    });
    onTestFinished(async () => void (await service.stop()));
    expect((await fetch(`${service.url}/queues/api/queues`)).status).toBe(401);
    const tokens = [...service.logs().matchAll(/"token":"([^"]+)"/g)].map(match => match[1]);
    expect(tokens).toHaveLength(1);
    const headers = { authorization: `Bearer ${tokens[0]}` };
    expect((await fetch(`${service.url}/queues/api/queues`, { headers })).status).toBe(200);
  });
});
