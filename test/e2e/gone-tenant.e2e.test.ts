import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack, temporaryDirectory } from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/* Tenants whose folder was deleted outside Onewriter, or lost its rights, and what a person can do with them. */

let stack: Stack;
let app: Onewriter;

beforeAll(async () => {
  stack = await startStack();
  app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});

afterAll(async () => {
  await app?.close();
  await stack?.stop();
});

const onewriter = (...args: string[]) => runCli([...args, '--data-dir', stack.dataDir]);

/** A tenant that was written, and whose folder is gone. Paused before: then the broker saves no copy of the open file. */
async function makeGone(tenant: string): Promise<void> {
  await app.tenant(tenant).exec('CREATE TABLE t(n)');
  expect((await onewriter('tenants', 'pause', tenant)).code).toBe(0);
  rmSync(dirname(tenantFile(stack.dataDir, tenant)), { recursive: true });
  expect((await onewriter('tenants', 'resume', tenant)).code).toBe(0);
}

describe('a tenant whose folder is gone', () => {
  it('is answered in the same way by reads, exports and writes, and can be deleted', async () => {
    await makeGone('gone');
    const commands = [
      ['sql', 'gone', 'SELECT * FROM t'],
      ['export', 'gone', join(stack.dataDir, 'gone.ndjson')],
      ['sql', 'gone', 'INSERT INTO t VALUES (1)'],
    ];
    for (const command of commands) {
      const { code, stderr } = await onewriter(...command);
      expect(code, command[0]).toBe(1);
      expect(stderr).toContain('TENANT_UNAVAILABLE');
      expect(stderr).toContain('onewriter restore <backup> gone');
      expect(stderr).toContain('onewriter tenants delete gone');
      expect(stderr).not.toContain('tenants create');
    }
    const deleted = await onewriter('tenants', 'delete', 'gone', '--confirm', 'gone', '--json');
    expect(parseJson(deleted)).toMatchObject({ tenant: 'gone', trash: null, folder: null, expiresAt: null });
    const info = await onewriter('tenants', 'info', 'gone');
    expect(info.stderr).toContain('TENANT_NOT_FOUND');
    const again = await onewriter('tenants', 'delete', 'gone', '--confirm', 'gone');
    expect(again.stderr).toContain('TENANT_NOT_FOUND');
    await app.tenant('gone').exec('CREATE TABLE u(n)');
    expect(await app.tenant('gone').prepare('SELECT * FROM u').all()).toEqual([]);
  });

  it('is sound for check once a person has accepted an empty file', async () => {
    await makeGone('accepted');
    await expect(app.tenant('accepted').exec('CREATE TABLE t(n)')).rejects.toMatchObject({
      code: 'TENANT_UNAVAILABLE',
    });
    const before = parseJson(await onewriter('check', '--all', '--json'));
    expect(before.findings).toContainEqual(expect.objectContaining({ tenant: 'accepted', level: 'error' }));
    await onewriter('tenants', 'pause', 'accepted');
    await onewriter('tenants', 'resume', 'accepted');
    await app.tenant('accepted').exec('CREATE TABLE t(n)');
    const { findings } = parseJson(await onewriter('check', '--all', '--json'));
    expect(findings.filter(({ level }: { level: string }) => level === 'error')).toEqual([]);
  });
});

it('a second pause keeps the first reason, and status shows both; the audit log has who created, paused and deleted', async () => {
  expect((await onewriter('tenants', 'create', 'still')).code).toBe(0);
  await onewriter('tenants', 'pause', 'still', '--reason', 'a move of the disk');
  await onewriter('tenants', 'pause', 'still');
  await onewriter('tenants', 'pause', 'still', '--reason', 'a bill');
  const status = await onewriter('status');
  expect(status.stdout).toMatch(/held +still: pause by .* \(a move of the disk; a bill\)/);
  const { held } = parseJson(await onewriter('status', '--json'));
  expect(held).toMatchObject([{ tenant: 'still', holders: [{ name: 'pause' }] }]);
  await onewriter('tenants', 'resume', 'still');
  expect((await onewriter('status')).stdout).not.toContain('still: pause');
  await onewriter('tenants', 'delete', 'still', '--confirm', 'still');
  const response = await fetch(`${stack.gatewayUrl}/v1/audit?tenant=still`, {
    headers: { authorization: `Bearer ${stack.token}` },
  });
  const { entries } = (await response.json()) as {
    entries: { action: string; tenant: string; subject: string }[];
  };
  const own = entries.filter(({ tenant }) => tenant === 'still');
  expect(new Set(own.map(({ action }) => action))).toEqual(
    new Set(['tenant.create', 'tenant.pause', 'tenant.resume', 'tenant.delete']),
  );
  for (const { action, subject } of own) expect(subject, action).toMatch(/^.+@.+ \(command line\)$/);
});

it('a wrong option of up ends with 2 and its name, a file as data directory with what to do', async () => {
  const wrong = await runCli(['up', '--gateway-port', '99999', '--data-dir', stack.dataDir]);
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('--gateway-port') });
  expect(wrong.stderr).not.toContain('ONEWRITER_GATEWAY_PORT');
  const file = join(stack.dataDir, 'a-file');
  writeFileSync(file, '');
  onTestFinished(() => rmSync(file));
  for (const path of [file, join(file, 'below')]) {
    const { code, stderr } = await runCli(['up', '--data-dir', path]);
    expect(code).toBe(1);
    expect(stderr).toContain('MISCONFIGURED');
    expect(stderr).toContain('--data-dir');
  }
  const doctor = await runCli(['doctor', '--data-dir', join(file, 'below')]);
  expect(doctor.stderr).not.toContain('INTERNAL');
});

it('a folder without rights is TENANT_UNAVAILABLE, with its path and the right', async () => {
  const data = await temporaryDirectory('without-rights');
  chmodSync(data.path, 0o755);
  const folder = join(data.path, 'tenants', 'acme');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'tenant.db'), '');
  chmodSync(folder, 0);
  onTestFinished(async () => {
    chmodSync(folder, 0o755);
    await data.remove();
  });
  const script = `
    const { locateDatabase } = await import(${JSON.stringify(import.meta.resolve('@onewriter/protocol'))});
    try { locateDatabase(${JSON.stringify(data.path)}, 'acme'); }
    catch (error) { console.log(JSON.stringify({ code: error.code, message: error.message })); }`;
  // Root may look everywhere.
  const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    ...user,
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  const { code, message } = JSON.parse(stdout);
  expect(code).toBe('TENANT_UNAVAILABLE');
  expect(message).toContain(join(folder, 'tenant.db'));
  expect(message).toContain('(x)');
});
