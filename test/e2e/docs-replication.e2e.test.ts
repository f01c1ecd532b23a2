import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tenantFile } from '@onewriter/protocol';
import { connect } from '@onewriter/sdk';
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
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GuideBlock, readGuideBlocks } from '../deployment/guide-blocks.ts';

const read = (page: string) =>
  readFileSync(fileURLToPath(new URL(`../../docs/${page}`, import.meta.url)), 'utf8');
/** Blocks that are no commands are for the SDK. */
const commandsOf = (page: string) => read(page).replace(/^```js\n[\s\S]*?^```$/gm, '');
const PAGES = ['replication.md', 'hibernate.md'];

let folder: TemporaryDirectory;
let stack: Stack;
const inFolder = (name: string) => join(folder.path, name);
const replica = () => `file://${inFolder('store')}`;

beforeAll(async () => {
  folder = await temporaryDirectory('docs-replication');
  for (const name of ['bin', 'data', 'store']) mkdirSync(inFolder(name));
  writeFileSync(inFolder('bin/onewriter'), `#!/bin/sh\nexec '${process.execPath}' '${CLI_MAIN}' "$@"\n`);
  chmodSync(inFolder('bin/onewriter'), 0o755);
  stack = await startStack({ dataDir: inFolder('data'), env: { ONEWRITER_REPLICA_URL: replica() } });
  await using client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  const script = "CREATE TABLE notes(text TEXT); INSERT INTO notes VALUES ('one')";
  const { replicatedAt } = await client.tenant('acme').exec(script, { durable: 'replica' });
  await waitFor(() => Date.now() - replicatedAt! > 1_100, { what: 'the first commit to be a second old' });
});

afterAll(async () => {
  await stack?.stop();
  await folder?.remove();
});

describe.each(PAGES)('docs/%s', page => {
  const running = readGuideBlocks(commandsOf(page))
    .filter(({ runs }) => runs)
    .map(block => [`${block.section}, line ${block.line}`, block] as [string, GuideBlock]);

  // In their order: a later one builds on what an earlier one made.
  it.each(running)('%s', async (_, block) => {
    const shell = await spawnProcess('sh', ['-euc', block.commands], {
      cwd: folder.path,
      env: {
        ...withoutSettings(),
        NO_COLOR: '1',
        PATH: `${inFolder('bin')}:${process.env['PATH']}`,
        // That of a new machine knows no Redis.
        ONEWRITER_DATA_DIR: block.given === 'new-machine' ? undefined : stack.dataDir,
        ONEWRITER_REPLICA_URL: replica(),
        REPLICA: replica(),
        // Each page has a machine of its own.
        NEW: inFolder(page === 'replication.md' ? 'new' : `new-${page}`),
      },
    });
    const { code } = await shell.exited;
    expect(code, shell.logs()).toBe(block.exit);
  });
});

it('makes a new machine out of the replica', () => {
  for (const tenant of ['acme', 'acme-look', 'acme-test'])
    expect(existsSync(tenantFile(inFolder('new'), tenant, 'tenant.db'))).toBe(true);
});
