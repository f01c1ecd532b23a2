import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OperationStore, runOperation } from '@onewriter/operations';
import { DEFAULT_GROUP } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack, waitFor } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/*
 * The overview and the tenants' pages on a whole stack with two brokers, in a real Chromium: what a person on call sees
 * while things break, and what that person can do about it.
 */

const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
/** Machines of tests are busy; a status comes once a second. */
const PATIENCE_MS = 30_000;

let stack: Stack;
let onewriter: Onewriter;
let browser: Browser;

beforeAll(async () => {
  if (!existsSync(CHROMIUM)) {
    throw new Error(
      `There is no Chromium at ${CHROMIUM}: install it (apt-get install chromium) or set CHROMIUM_PATH.`,
    );
  }
  stack = await startStack({ args: ['--brokers', '2'] });
  onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  await onewriter.tenant('acme').exec(`
    CREATE TABLE tasks(id INTEGER PRIMARY KEY, title TEXT NOT NULL, cover BLOB, size INTEGER);
    CREATE INDEX tasks_by_title ON tasks(title);
    INSERT INTO tasks VALUES (1, 'Paint <b>the</b> fence', x'00ff', 9007199254740993), (2, 'Call the bank', NULL, NULL)`);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
});

afterAll(async () => {
  await browser?.close();
  await onewriter?.close();
  await stack?.stop();
});

/** A logged-in person, and what the pages complain about. */
async function visit(
  path: string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; problems: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  onTestFinished(async () => void (await context.close()));
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const problems: string[] = [];
  page.on('pageerror', error => problems.push(error.message));
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text());
  });
  page.on('request', request => {
    if (!request.url().startsWith(stack.dashboardUrl)) problems.push(`asked ${request.url()}`);
  });
  await page.goto(stack.dashboardUrl + path);
  await page.getByLabel('Token').fill(stack.token);
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Live', exact: true }).waitFor();
  return { page, problems };
}

const state = (page: Page) => page.getByRole('region', { name: 'State' });

describe('the overview', () => {
  it('says who leads, shows who is busy, and follows what happens without a reload', async () => {
    const { page, problems } = await visit('/', { timezoneId: 'Asia/Kathmandu' });
    await state(page)
      .getByText(/leads \(process \d+, epoch \d+, .*1 broker stands by\./s)
      .waitFor();
    expect(await page.getByText('No broker stands by').count()).toBe(0);

    await onewriter.tenant('acme').prepare('INSERT INTO tasks(title) VALUES (?)').run('One more');
    const busiest = page.getByRole('region', { name: 'Busiest tenants' });
    await busiest.getByRole('link', { name: 'acme' }).waitFor();
    await page
      .getByRole('img', { name: /^Writes per second, the last 5 minutes: now [\d.,]+, at most/ })
      .waitFor();
    await page.getByRole('heading', { name: 'Redis' }).waitFor();
    await page.getByText('AOF everysec').waitFor();
    await page.getByRole('rowheader', { name: 'globex' }).waitFor({ state: 'detached' });

    // A failed write that no caller waits for is shown here, with a link to it.
    await onewriter.tenant('acme').enqueue("INSERT INTO tasks(id, title) VALUES (1, 'again')");
    await state(page).getByText('1 write was set aside.').waitFor();
    expect(await page.title()).toMatch(/^! \d+ Overview/);
    await state(page).getByRole('link', { name: 'Open the dead letters' }).waitFor();

    // The plots can be read with the keyboard.
    await page.getByRole('img', { name: /^Queue depth/ }).focus();
    await page.keyboard.press('ArrowLeft');
    const tip = page.locator('.plot-tip').getByText(/jobs (–|\d)/);
    await tip.waitFor();
    // In UTC, as all times of the pages, whatever clock the browser has: one slot before the newest.
    const [, time] = /^(\d\d:\d\d:\d\d) UTC: /.exec((await tip.textContent()) ?? '') ?? [];
    const today = new Date().toISOString().slice(0, 11);
    const day = 24 * 60 * 60_000;
    expect((Date.now() - Date.parse(`${today}${time}Z`) + day) % day).toBeLessThan(5 * 60_000);

    // What moves can be stopped.
    await page.getByRole('button', { name: 'Live', exact: true }).click();
    await page.getByRole('button', { name: 'Stopped: resume' }).click();
    await page.getByRole('button', { name: 'Live', exact: true }).waitFor();
    expect(problems).toEqual([]);
  });

  it('names the tenant whose file is damaged, and what to do', async () => {
    mkdirSync(join(stack.dataDir, 'tenants/broken'), { recursive: true });
    writeFileSync(
      join(stack.dataDir, 'tenants/broken/tenant.db'),
      'this is no database, but long enough'.repeat(100),
    );
    const { page } = await visit('/');
    await onewriter.tenant('broken').enqueue('CREATE TABLE t(a)');
    await state(page).getByText('Tenant broken cannot be written; all others can').waitFor();
    await state(page)
      .getByText(/broken cannot be written: DATABASE_CORRUPT/)
      .waitFor();
    await state(page).getByRole('link', { name: 'Open broken' }).click();
    await page.getByText('parked', { exact: true }).waitFor();
    // Its text is there before its script runs, which opens dialogs.
    await page.waitForLoadState();
    await page.getByText('restore it from a backup (npx onewriter restore)').waitFor();
    // A person pauses it to look after it.
    await page.getByRole('button', { name: 'Pause…' }).click();
    await page.getByLabel('Why? (optional)').fill('restoring from backup, ticket 4711');
    await page.keyboard.press('Enter');
    await page.getByText('paused', { exact: true }).waitFor();
    await page.getByRole('link', { name: 'Overview' }).click();
    await page.getByText(/restoring from backup, ticket 4711; 1 job waiting/).waitFor();
  });

  it('shows when Redis is away and when another broker took over, and recovers', async () => {
    const { page } = await visit('/');
    const leads = state(page).getByText(/leads \(process \d+,/);
    const leader = async () => Number(/\(process (\d+),/.exec((await leads.textContent()) ?? '')?.[1]);
    const first = await leader();
    expect(stack.currentPids().brokers).toContain(first);
    process.kill(first, 'SIGKILL');
    await waitFor(async () => (await leader()) !== first, {
      what: 'the other broker to lead',
      timeoutMs: PATIENCE_MS,
    });

    const { redis } = stack.currentPids();
    process.kill(redis, 'SIGSTOP');
    try {
      await state(page).getByText('Redis does not answer: nothing can be written').waitFor();
      await state(page).getByText('redis-cli ping').waitFor();
    } finally {
      process.kill(redis, 'SIGCONT');
    }
    await leads.waitFor();
  });
});

describe('a tenant', () => {
  it('shows schema, commits and failures, and reads with a statement that can be stopped', async () => {
    const insert = onewriter.tenant('acme').prepare('INSERT INTO tasks(id, title) VALUES (?, ?)');
    await expect(insert.run(1, 'twice')).rejects.toThrow(/UNIQUE/);
    const { page, problems } = await visit('/tenants/acme');
    await page.getByRole('rowheader', { name: 'cover' }).waitFor();
    await page.getByText('tasks_by_title').first().waitFor();
    await page.getByText('UNIQUE constraint failed: tasks.id').first().waitFor();
    expect(await page.getByRole('heading', { name: 'Last commits' }).count()).toBe(1);

    const sql = page.getByLabel('A statement that reads');
    const results = page.locator('#sql-results');
    await sql.fill('SELECT id, title, cover, size FROM tasks WHERE id < 3 ORDER BY id');
    await sql.press('Control+Enter');
    await results.getByText('2 rows').waitFor();
    expect(await results.locator('tbody tr').allTextContents()).toEqual([
      '1Paint <b>the</b> fenceblob, 2 B: 00ff9007199254740993',
      '2Call the bankNULLNULL',
    ]);

    await sql.fill('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n');
    await sql.press('Control+Enter');
    await results.getByText('The first 500 rows; the statement was stopped there').waitFor();

    await sql.fill('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n');
    await sql.press('Control+Enter');
    await page.getByRole('button', { name: /^Stop/ }).click();
    await results.getByText('Stopped; the statement was ended.').waitFor();

    for (const [statement, answer] of [
      ['DELETE FROM tasks', 'This box only reads'],
      ['SELECT * FROM nowhere', 'no such table: nowhere'],
    ] as const) {
      await sql.fill(statement);
      await sql.press('Control+Enter');
      await results.getByText(answer).waitFor();
    }
    const { count } = (await onewriter
      .tenant('acme')
      .prepare('SELECT count(*) AS count FROM tasks')
      .get()) as {
      count: number;
    };
    expect(count).toBeGreaterThan(1);
    expect(problems).toEqual([]);
  });

  it('is paused, resumed and checked, by keyboard, and each is written down', async () => {
    const { page } = await visit('/tenants/acme');
    await page.getByRole('button', { name: 'Pause…' }).press('Enter');
    await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).press('Enter');
    await page.getByText('Paused. Its file is closed').waitFor();
    const write = async () =>
      (
        await fetch(`${stack.gatewayUrl}/v1/tenants/acme/query`, {
          method: 'POST',
          headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
          body: JSON.stringify({ sql: "INSERT INTO tasks(title) VALUES ('x')" }),
        })
      ).status;
    expect(await write()).toBe(503);
    await page.getByRole('button', { name: 'Resume' }).press('Enter');
    await page.getByText('Resumed: what waited in its queue').waitFor();
    await waitFor(async () => (await write()) === 200, {
      what: 'a write after the pause',
      timeoutMs: PATIENCE_MS,
    });
    await page.getByRole('button', { name: 'Check the file' }).press('Enter');
    await page.getByText('The file is in order').waitFor();
    await page.getByRole('link', { name: 'Audit' }).click();
    for (const action of ['tenant.pause', 'tenant.resume', 'tenant.check', 'tenant.sql']) {
      await page.getByText(action, { exact: true }).first().waitFor();
    }
    expect(await page.getByText('SELECT * FROM nowhere').count()).toBe(1);
  });

  it('sends a dead letter again, or drops it', async () => {
    const { page } = await visit('/tenants/acme');
    const letters = page.getByRole('region', { name: 'Dead letters' });
    await letters.getByRole('button', { name: 'Retry' }).click();
    await page.getByText('Sent again').waitFor();
    // It fails again, and is back.
    await letters.getByRole('button', { name: 'Drop' }).click();
    await page.getByText('Dropped: the letter is deleted.').waitFor();
    await letters.getByText('None of this tenant.').waitFor();
  });

  it('says what is missing where there is none', async () => {
    const { page } = await visit('/');
    await page.goto(`${stack.dashboardUrl}/tenants/nobody`);
    await page.getByRole('alert').getByText('There is no tenant nobody.').waitFor();
    await page.goto(`${stack.dashboardUrl}/tenants?q=No!`);
    await page
      .getByRole('alert')
      .getByText('Ids of tenants are made of a-z, 0-9 and inner hyphens.')
      .waitFor();
  });
});

describe('operations', () => {
  it('backs up a tenant, follows it without a reload, and lists it', async () => {
    const { page, problems } = await visit('/tenants/acme');
    await page.getByRole('button', { name: 'Back up', exact: true }).click();
    await page.waitForURL(/\/operations\/op-/);
    await page.getByText('done', { exact: true }).waitFor();
    await page.getByText('1 of 1 tenants').waitFor();
    expect(await page.getByRole('button', { name: 'Cancel' }).count()).toBe(0);
    await page.getByRole('link', { name: 'Operations', exact: true }).click();
    await page.getByRole('link', { name: 'backup' }).first().waitFor();
    expect(problems).toEqual([]);
  });

  it('cancels one that another process carries out', async () => {
    const redis = new Redis(stack.redisUrl);
    onTestFinished(() => redis.disconnect());
    const store = new OperationStore(redis, DEFAULT_GROUP);
    const { page } = await visit('/operations');
    const work = runOperation(
      { kind: 'check', who: 'a test', tenants: ['acme'], unit: 'tenants' },
      { open: async () => store, summarize: () => ({ result: null }) },
      ({ signal }) =>
        new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const failed = expect(work).rejects.toMatchObject({ code: 'ABORTED' });
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.waitForURL(/\/operations\/op-/);
    await failed;
    await page.getByText('cancelled', { exact: true }).waitFor();
    await page.getByRole('link', { name: 'Audit' }).click();
    await page.getByText('operation.cancel', { exact: true }).first().waitFor();
  });

  it('says what there is not', async () => {
    const { page } = await visit('/');
    await page.goto(`${stack.dashboardUrl}/operations/op-1`);
    await page.getByText('There is no operation op-1').waitFor();
  });
});

it('fits a phone, and is dark where the person’s system is', async () => {
  const phone = { viewport: { width: 360, height: 740 }, colorScheme: 'dark' as const };
  const { page, problems } = await visit('/', phone);
  for (const path of ['/', '/tenants', '/tenants/acme', '/tenants/broken', '/operations', '/audit']) {
    await page.goto(stack.dashboardUrl + path);
    expect([
      path,
      await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth),
    ]).toEqual([path, true]);
  }
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  expect(await ground()).toBe('rgb(16, 19, 24)');
  await page.getByRole('button', { name: 'Theme: auto' }).click();
  expect(await ground()).toBe('rgb(245, 246, 248)');
  await page.reload();
  expect(await ground()).toBe('rgb(245, 246, 248)');
  expect(problems).toEqual([]);
});
