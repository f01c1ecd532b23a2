import { chmodSync, closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tenantFile } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
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

const GUIDE = readFileSync(fileURLToPath(new URL('../../docs/operations.md', import.meta.url)), 'utf8');
const blocks = readGuideBlocks(GUIDE);

let stack: Stack;
let folder: TemporaryDirectory;
let client: Onewriter;

beforeAll(async () => {
  folder = await temporaryDirectory('operations');
  await mkdir(join(folder.path, 'bin'));
  const program = join(folder.path, 'bin/onewriter');
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${CLI_MAIN}' "$@"\n`);
  chmodSync(program, 0o755);
  stack = await startStack({ args: ['--brokers', '2'] });
  client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});

afterAll(async () => {
  await client?.close();
  await stack?.stop();
  await folder?.remove();
});

/** What has to be before a block, by the name in its `given=`. */
const GIVEN: Readonly<Record<string, () => Promise<void>>> = {
  '': async () => {},
  'second-machine': async () => {
    await rm(join(folder.path, 'other'), { recursive: true, force: true });
    await mkdir(join(folder.path, 'other'));
  },
  // A write that no caller waits for, to a file that is no database: it stays, and the tenant is parked.
  parked: async () => {
    const tenant = client.tenant('parked');
    await tenant.exec('CREATE TABLE t(n)');
    await damage('parked');
    await tenant.enqueue('INSERT INTO t VALUES (1)');
    await waitFor(async () => (await run('onewriter doctor')).stdout.includes('parked cannot be written'), {
      timeoutMs: 30_000,
      intervalMs: 200,
      what: 'the tenant to be parked',
    });
  },
  corrupt: () => damage('acme'),
  'dead-letter': async () => {
    await client.tenant('acme').enqueue('INSERT INTO nowhere VALUES (1)');
    await waitFor(async () => (await run('onewriter dead-letters list')).stdout.includes('nowhere'), {
      timeoutMs: 30_000,
      intervalMs: 200,
      what: 'the dead letter',
    });
  },
};

/** Overwrites the beginning of a tenant's file while no process writes to it. */
async function damage(tenant: string): Promise<void> {
  expect(await run(`onewriter tenants pause ${tenant}`)).toMatchObject({ code: 0 });
  const file = tenantFile(stack.dataDir, tenant);
  for (const part of ['-wal', '-shm']) rmSync(file + part, { force: true });
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, Buffer.alloc(4096, 'not a database '), 0, 4096, 0);
  closeSync(descriptor);
  expect(await run(`onewriter tenants resume ${tenant}`)).toMatchObject({ code: 0 });
}

async function run(commands: string) {
  const shell = await spawnProcess('sh', ['-euc', commands], {
    cwd: folder.path,
    env: {
      ...withoutSettings(),
      NO_COLOR: '1',
      PATH: `${join(folder.path, 'bin')}:${process.env['PATH']}`,
      ONEWRITER_DATA_DIR: stack.dataDir,
      ONEWRITER_REDIS_URL: stack.redisUrl,
      ONEWRITER_GATEWAY_URL: stack.gatewayUrl,
      BACKUPS: join(folder.path, 'backups'),
      OTHER_DATA_DIR: join(folder.path, 'other'),
    },
  });
  const { code } = await shell.exited;
  return { code, stdout: shell.stdout(), logs: shell.logs() };
}

describe('docs/operations.md', () => {
  const running = blocks
    .filter(({ runs }) => runs)
    .map(block => [`${block.section}, line ${block.line}`, block]);

  it('leads to sections that are there', () => {
    const anchors = new Set(
      Array.from(GUIDE.matchAll(/^#+ (.+)$/gm), ([, heading]) =>
        heading!
          .toLowerCase()
          .replaceAll(/[^a-z0-9_ -]/g, '')
          .replaceAll(' ', '-'),
      ),
    );
    for (const [, anchor] of GUIDE.matchAll(/\]\(#([^)]+)\)/g)) expect(anchors).toContain(anchor);
    expect(blocks.length).toBeGreaterThan(20);
  });

  // In their order: a later one builds on what an earlier one made.
  it.each(running as [string, GuideBlock][])('%s', async (_, block) => {
    await GIVEN[block.given]!();
    const result = await run(block.commands);
    expect(result.code, result.logs).toBe(block.exit);
  });

  it('has lost nothing that was written on the way', async () => {
    expect(await client.tenant('acme').prepare('SELECT what FROM orders ORDER BY id').all()).toEqual([
      { what: 'first' },
      { what: 'second' },
      { what: 'during the upgrade' },
      { what: 'after the restore' },
    ]);
  });
});
