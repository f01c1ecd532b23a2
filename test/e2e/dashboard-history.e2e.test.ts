import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type Stack,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';

/* The history of a tenant in a real Chromium: find the mistake, look at the state before it, and go back. */

const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
const PATIENCE_MS = 60_000;

let folder: TemporaryDirectory;
let stack: Stack;
let client: Onewriter;
let browser: Browser;
/** The commit before the mistake. */
let good: number;

beforeAll(async () => {
  folder = await temporaryDirectory('dashboard-history');
  mkdirSync(join(folder.path, 'store'));
  const env = { ONEWRITER_REPLICA_URL: `file://${join(folder.path, 'store')}` };
  stack = await startStack({ dataDir: join(folder.path, 'data'), env });
  client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  const db = client.tenant('acme');
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
  const insert = db.prepare('INSERT INTO t(v) VALUES (?)', { durable: 'replica' });
  await insert.run('one');
  good = (await insert.run('two')).commitSeq;
  await db.prepare('DELETE FROM t', { durable: 'replica' }).run();
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
});

afterAll(async () => {
  await browser?.close();
  await client?.close({ timeoutMs: 100 });
  await stack?.stop();
  await folder?.remove();
});

async function openHistory(): Promise<{ page: Page; problems: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1_000 } });
  onTestFinished(async () => void (await context.close()));
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const problems: string[] = [];
  page.on('pageerror', error => problems.push(error.message));
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) problems.push(message.text());
  });
  page.on('request', request => {
    if (!request.url().startsWith(stack.dashboardUrl)) problems.push(`asked ${request.url()}`);
  });
  await page.goto(`${stack.dashboardUrl}/tenants/acme`);
  await page.getByLabel('Token').fill(stack.token);
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'History…' }).click();
  await page.getByRole('heading', { name: 'History of acme' }).waitFor();
  return { page, problems };
}

const rows = () => client.tenant('acme').prepare<[], { v: string }>('SELECT v FROM t ORDER BY id').all();

/** Temporary folders of files of former points. */
function pointFolders(): readonly string[] {
  const trash = join(stack.dataDir, 'trash');
  return existsSync(trash) ? readdirSync(trash).filter(name => name.includes('points')) : [];
}

const TIMES = { timeout: 180_000 };

test(
  'a mistake is found on the time line with the keyboard, and looked at as of before it',
  TIMES,
  async () => {
    const { page, problems } = await openHistory();
    const slider = page.getByRole('slider', { name: 'Point of the history' });
    const text = page.locator('#point-text');
    expect(await text.textContent()).toMatch(/1 write: DELETE by c-/);
    await slider.focus();
    await page.keyboard.press('ArrowLeft');
    await text.getByText(/write: INSERT by c-/).waitFor();
    expect(await slider.getAttribute('aria-valuetext')).toBe(await text.textContent());
    const box = page.getByRole('region', { name: 'Look at it as of then' });
    expect(await box.locator('[data-point]').inputValue()).toBe(String(good));

    await box.getByLabel('A statement that reads').fill('SELECT v FROM t ORDER BY id');
    await page.keyboard.press('Control+Enter');
    await box.getByRole('cell', { name: 'two', exact: true }).waitFor();
    await box.getByText(/^2 rows, in/).waitFor();
    expect(pointFolders()).toHaveLength(1);
    // The tenant itself is as it was.
    expect(await rows()).toEqual([]);
    await box.getByLabel('A statement that reads').fill('DELETE FROM t');
    await box.getByRole('button', { name: 'Run' }).click();
    await box.getByText('This box only reads.').waitFor();
    await box.locator('[data-point]').fill('999');
    await box.getByLabel('A statement that reads').fill('SELECT 1');
    await box.getByRole('button', { name: 'Run' }).click();
    await box.getByText('has no commit 999').waitFor();
    expect(problems).toEqual([]);
  },
);

test('it is restored beside, and in its place after a confirmation', TIMES, async () => {
  const { page } = await openHistory();
  await page.getByRole('slider').focus();
  await page.keyboard.press('ArrowLeft');
  const beside = page.getByRole('region', { name: 'Restore it beside' });
  await beside.getByLabel('Name of the new tenant').fill('acme-then');
  await beside.getByRole('button').click();
  await page.getByText('done', { exact: true }).waitFor();
  expect(page.url()).toContain('/operations/');
  expect(await client.tenant('acme-then').prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 2 });

  await page.goto(`${stack.dashboardUrl}/tenants/acme/history?at=${good}`);
  const replace = page.getByRole('region', { name: 'Go back to it' });
  expect(await replace.locator('[data-point]').inputValue()).toBe(String(good));
  const button = replace.getByRole('button');
  await replace.getByLabel('To confirm, type the name of the tenant').fill('acm');
  await button.click();
  expect(page.url()).toContain('/history');
  await replace.getByLabel('To confirm, type the name of the tenant').fill('acme');
  await button.click();
  await page.getByText('done', { exact: true }).waitFor();
  await waitFor(async () => (await rows()).length === 2 || undefined, { what: 'the restored file' });
});

test('the server asks for the confirmation, too, and says why there is no history', TIMES, async () => {
  const { page } = await openHistory();
  const { origin } = new URL(page.url());
  const answer = await page.request.post(`${origin}/tenants/acme/history/restore`, {
    form: { at: String(good), confirm: 'acm' },
    headers: { origin, accept: 'text/html' },
  });
  expect(answer.status()).toBe(428);
  expect(await answer.text()).toContain('Nothing was restored');
  await page.goto(`${stack.dashboardUrl}/tenants/nothing/history`);
  await page.getByText('The replica has nothing of tenant nothing').waitFor();
});

test('nothing is left when the stack stops', TIMES, async () => {
  await stack.stop();
  expect(pointFolders()).toEqual([]);
});
