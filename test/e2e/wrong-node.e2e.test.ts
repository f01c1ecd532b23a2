import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { groupKeys } from '@onewriter/protocol';
import {
  CLI_MAIN,
  spawnProcess,
  startRedis,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';

/* Packages that were built for another Node: no process is ready with them, and each says in one line what to do. */

/** Answers for SQLite's binary as Node does where it was built for another version. */
const PRELOAD = `
const load = process.dlopen;
process.dlopen = function (module, file, ...rest) {
  if (!file.endsWith('better_sqlite3.node')) return load.call(process, module, file, ...rest);
  const error = new Error("The module '" + file + "'\\nwas compiled against a different Node.js version using\\n" +
    'NODE_MODULE_VERSION 1. This version of Node.js requires\\nNODE_MODULE_VERSION ' + process.versions.modules +
    '. Please try re-compiling or re-installing\\nthe module (for instance, using \`npm rebuild\` or \`npm install\`).');
  error.code = 'ERR_DLOPEN_FAILED';
  throw error;
};
`;
const REPAIR = /better-sqlite3 was built for another Node .*: cd \/\S+ && npm rebuild better-sqlite3/;

const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

async function startGround() {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const folder = await temporaryDirectory('wrong-node');
  onTestFinished(() => folder.remove());
  const preload = join(folder.path, 'preload.cjs');
  writeFileSync(preload, PRELOAD);
  const dataDir = join(folder.path, 'data');
  const run = async (args: readonly string[], env: Record<string, string> = {}) => {
    const child = await spawnProcess(process.execPath, args, {
      cwd: path('.'),
      env: {
        ...withoutSettings(),
        NODE_OPTIONS: `--require ${preload}`,
        ONEWRITER_REDIS_URL: redis.url,
        ONEWRITER_DATA_DIR: dataDir,
        ONEWRITER_TOKEN_SECRET: 'testkit-secret-testkit-secret',
        ONEWRITER_BROKER_PORT: '0',
        ONEWRITER_GATEWAY_PORT: '0',
        ...env,
      },
    });
    onTestFinished(async () => void (await child.stop()));
    // One that does not look would run on.
    const { code } = await waitFor(() => Promise.race([child.exited, undefined]), {
      timeoutMs: 30_000,
      what: `the end of ${args[0]}`,
    });
    return { code, lines: child.stderr().trim().split('\n'), stdout: child.stdout() };
  };
  return { redis, dataDir, run };
}

it.each([
  ['broker', 'workers/broker/dist/main.js'],
  ['gateway', 'apps/gateway/dist/main.js'],
])('a %s says it and ends before it is ready', async (_, main) => {
  const { redis, dataDir, run } = await startGround();
  const { code, lines } = await run([path(main)]);
  expect(code).toBe(1);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(REPAIR);
  expect(existsSync(join(dataDir, 'epoch'))).toBe(false);
  const commands = new Redis(redis.url);
  onTestFinished(() => commands.disconnect());
  expect(await commands.exists(groupKeys('default').lease)).toBe(0);
});

it('so do commands that open files, `up` among them; the others work', async () => {
  const { run } = await startGround();
  for (const args of [['up'], ['tenants', 'list'], ['sql', 'acme', 'SELECT 1']]) {
    const { code, lines } = await run([CLI_MAIN, ...args]);
    expect([args, code, lines.length]).toEqual([args, 1, 1]);
    expect(lines[0]).toMatch(REPAIR);
  }
  expect(await run([CLI_MAIN, 'config'])).toMatchObject({ code: 0 });
  const doctor = await run([CLI_MAIN, 'doctor']);
  expect(doctor.code).toBe(3);
  expect(doctor.stdout).toMatch(REPAIR);
});

it('so does an app that reads files', async () => {
  const { redis, dataDir, run } = await startGround();
  const app = `
    import { mkdirSync } from 'node:fs';
    import { connect } from '@onewriter/sdk';
    mkdirSync(${JSON.stringify(dataDir)});
    await connect({ redis: ${JSON.stringify(redis.url)}, dataDir: ${JSON.stringify(dataDir)} }).catch(error => {
      console.error(error.code + ': ' + error.message);
      process.exitCode = 7;
    });`;
  const { code, lines } = await run(['--input-type=module', '--eval', app]);
  expect(code).toBe(7);
  expect(lines[0]).toMatch(/^MISCONFIGURED: /);
  expect(lines[0]).toMatch(REPAIR);
});
