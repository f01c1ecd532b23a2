import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect } from '@onewriter/sdk';
import { type Stack, startStack } from '@onewriter/testkit';
import { chromium, type Page } from 'playwright-core';
import { runTeams } from './teams.ts';

/*
 * Takes the pictures of the documentation, into docs/images: a stack of its own with two brokers, some minutes of load,
 * a real Chromium. Run after `npm run build`, on a machine that has nothing else to do:
 *
 *   npm run screenshots [-- <minutes of load, default 5>]
 */

const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
/** From test/screenshots/dist. */
const IMAGES = fileURLToPath(new URL('../../../docs/images/', import.meta.url));
const MAX_BYTES = 200_000;
const VIEWPORT = { width: 1200, height: 820 };
const PATIENCE_MS = 30_000;

const minutes = Number(process.argv[2] ?? 5);
await using stack = await startStack({ args: ['--brokers', '2'] });
await using onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
const teams = await runTeams(onewriter);
say(`The stack runs; ${minutes} minutes of load begin.`);
await pause(minutes * 60_000);

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
try {
  const page = await logIn(stack);
  await shoot(page, 'overview', '/');

  await page.goto(`${stack.dashboardUrl}/tenants/initech`);
  await page
    .getByLabel('A statement that reads')
    .fill('SELECT state, count(*) AS tasks, max(due) AS latest FROM tasks GROUP BY state');
  await page.getByRole('button', { name: 'Run' }).click();
  await page.locator('.results table').waitFor();
  // The sizes of a tenant are remembered while the page is open.
  await pause(40_000);
  await shoot(page, 'tenant');

  // A night on call: a damaged file, a paused tenant, writes that cannot be applied.
  mkdirSync(join(stack.dataDir, 'tenants/cyberdyne'), { recursive: true });
  writeFileSync(join(stack.dataDir, 'tenants/cyberdyne/tenant.db'), 'not a database any more '.repeat(500));
  await onewriter.tenant('cyberdyne').enqueue('INSERT INTO tasks(title) VALUES (1)');
  await onewriter.tenant('acme').enqueue('INSERT INTO tasks(id, title) VALUES (1, 2)');
  await page.goto(`${stack.dashboardUrl}/tenants/tyrell`);
  await page.getByRole('button', { name: 'Pause…' }).click();
  await page.getByLabel('Why? (optional)').fill('moving to another disk, ticket 4711');
  await page.keyboard.press('Enter');
  await page.getByText('paused', { exact: true }).waitFor();
  await onewriter.tenant('tyrell').enqueue("INSERT INTO tasks(title) VALUES ('waits')");
  await page.goto(stack.dashboardUrl);
  await page.getByText('DATABASE_CORRUPT').first().waitFor();
  await page.getByText('ticket 4711; 1 job waiting').waitFor();
  await page.getByText('was set aside.').waitFor();
  await shoot(page, 'trouble');
} finally {
  await teams.stop();
  await browser.close();
}

async function logIn({ dashboardUrl, token }: Stack): Promise<Page> {
  const page = await browser.newPage({ viewport: VIEWPORT, deviceScaleFactor: 1.25, colorScheme: 'light' });
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(dashboardUrl);
  await page.getByLabel('Token').fill(token);
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Live', exact: true }).waitFor();
  return page;
}

/** Takes a picture of what the window shows. @param path where to go before */
async function shoot(page: Page, name: string, path?: string): Promise<void> {
  if (path !== undefined) await page.goto(stack.dashboardUrl + path);
  await page.getByRole('button', { name: 'Live', exact: true }).waitFor();
  const file = join(IMAGES, `${name}.png`);
  mkdirSync(IMAGES, { recursive: true });
  await page.screenshot({ path: file, animations: 'disabled', caret: 'hide' });
  const { size } = statSync(file);
  say(`${file}: ${Math.round(size / 1_000)} kB`);
  if (size > MAX_BYTES) throw new Error(`${file} is larger than ${MAX_BYTES / 1_000} kB.`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
