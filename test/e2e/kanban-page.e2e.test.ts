import { fileURLToPath } from 'node:url';
import {
  type SpawnedProcess,
  type Stack,
  spawnProcess,
  startStack,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';

/*
 * The kanban's page in a real browser, two people at two servers on one board.
 */

const KANBAN = fileURLToPath(new URL('../../apps/kanban/dist/main.js', import.meta.url));

let stack: Stack;
let servers: SpawnedProcess[];
let browser: Browser;
/** What the pages complained about. */
const complaints: string[] = [];

beforeAll(async () => {
  stack = await startStack();
  const env = {
    ...withoutSettings(),
    ONEWRITER_REDIS_URL: stack.redisUrl,
    ONEWRITER_DATA_DIR: stack.dataDir,
    KANBAN_PORT: '0',
  };
  servers = [
    await spawnProcess(process.execPath, [KANBAN], { ipc: true, env }),
    await spawnProcess(process.execPath, [KANBAN], { ipc: true, env }),
  ];
  browser = await chromium.launch({
    executablePath: process.env['ONEWRITER_CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox'],
  });
});

afterAll(async () => {
  await browser?.close();
  for (const server of servers ?? []) await server.stop();
  await stack?.stop();
});

async function visit(server: SpawnedProcess, path: string): Promise<Page> {
  const { port } = await waitFor(() => server.messages[0] as { port: number } | undefined, {
    what: 'the kanban server',
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(10_000);
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('dialog', dialog => void dialog.accept());
  await page.goto(`http://127.0.0.1:${port}${path}`);
  return page;
}

const column = (page: Page, title: string) => page.getByRole('region', { name: title, exact: true });

it('lets two people work on one board with mouse and keyboard', async () => {
  const ada = await visit(servers[0]!, '/');
  await ada.getByLabel('Team').fill('page');
  await ada.getByRole('button', { name: 'Open' }).click();
  await ada.waitForURL('**/t/page');
  await ada.getByLabel('Your name').fill('Ada');
  await ada.getByLabel('Your name').press('Tab');
  await ada.getByLabel('Title of the new board').fill('Release');
  await ada.keyboard.press('Enter');
  for (const title of ['Write docs', 'Ship <b>it</b>', 'Fix 大輔’s import']) {
    await ada.getByLabel('New card in To do').fill(title);
    await ada.keyboard.press('Enter');
    await column(ada, 'To do').getByText(title).waitFor();
    expect(await ada.getByLabel('New card in To do').inputValue()).toBe('');
  }

  // Keyboard: the button moves the card, the focus stays on it, the change is said aloud.
  const right = () =>
    ada
      .getByRole('group', { name: 'Move #1' })
      .getByRole('button', { name: /^Move to / })
      .last();
  await right().focus();
  await ada.keyboard.press('Enter');
  await column(ada, 'In progress').getByText('Write docs').waitFor();
  expect(await ada.getByRole('status').textContent()).toBe('#1 is now number 1 in In progress');
  expect(await ada.evaluate(() => document.activeElement?.closest('li')?.textContent)).toContain(
    'Write docs',
  );
  await ada.keyboard.press('Enter');
  await column(ada, 'Done').getByText('Write docs').waitFor();

  // Mouse, and the other person sees it without doing anything.
  const ben = await visit(servers[1]!, '/t/page');
  await column(ben, 'Done').getByText('Write docs').waitFor();
  await ada
    .getByText('Ship <b>it</b>')
    .first()
    .dragTo(column(ada, 'Done').getByRole('list', { name: 'Done' }));
  await column(ben, 'Done').getByText('Ship <b>it</b>').waitFor();
  expect(await column(ben, 'Done').locator('.card-title').allTextContents()).toHaveLength(2);

  // What one types stays while the other's changes arrive.
  await ben.getByLabel('New card in In progress').fill('half a tit');
  await ada.getByRole('button', { name: /Ship <b>it/ }).click();
  const dialog = ada.getByRole('dialog');
  await dialog.getByLabel('Title').fill('Ship it');
  await dialog.getByLabel('Assigned to').selectOption({ label: 'Ada' });
  await dialog.getByLabel('Due').fill('2026-12-24');
  await dialog.getByLabel('New tag').fill('release');
  await ada.keyboard.press('Enter');
  await dialog.getByRole('button', { name: 'Remove tag release' }).waitFor();
  await dialog.getByLabel('New comment').fill('Ready?\nYes.');
  await dialog.getByLabel('Link').fill('https://example.com/notes');
  await dialog.getByRole('button', { name: 'Comment', exact: true }).click();
  await dialog.getByRole('link', { name: 'example.com' }).waitFor();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.waitFor({ state: 'hidden' });
  const shipped = column(ben, 'Done').locator('.card', { hasText: 'Ship it' });
  for (const fact of ['release', 'due 2026-12-24', 'Ada', '1 comment'])
    await shipped.getByText(fact).waitFor();
  expect(await ben.getByLabel('New card in In progress').inputValue()).toBe('half a tit');
  expect(await ben.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toBe(
    'New card in In progress',
  );

  // What is deleted by one under the other's hands is said, not swallowed.
  await ben.getByRole('button', { name: /Fix 大輔/ }).click();
  await ada.getByRole('button', { name: /Fix 大輔/ }).click();
  await dialog.getByRole('button', { name: 'Delete card' }).click();
  await column(ada, 'To do').getByText('Fix 大輔').waitFor({ state: 'detached' });
  await ben.getByRole('dialog').getByLabel('Title').fill('Too late');
  await ben.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await ben.getByRole('dialog').getByRole('alert').getByText('no such card').waitFor();
  expect(complaints.filter(text => !text.includes('404'))).toEqual([]);
});

it('says that the server is away, and continues when it is back', async () => {
  const page = await visit(servers[0]!, '/t/away');
  await page.getByText('No board yet').waitFor();
  await page.context().setOffline(true);
  await page.getByRole('alert').getByText('The server does not answer').waitFor();
  await page.context().setOffline(false);
  await page.getByRole('alert').waitFor({ state: 'hidden' });
});
