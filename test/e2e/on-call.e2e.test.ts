import { execFileSync } from 'node:child_process';
import { closeSync, copyFileSync, openSync, rmSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { OnewriterError, tenantFile } from '@onewriter/protocol';
import { readGroupStatus } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type Stack,
  spawnProcess,
  startRedis,
  startStack,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  trackHandle,
  waitFor,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/*
 * What a person on call goes through: a stack under load is broken in five ways, and each time the cause has to be found
 * with nothing but what the overview shows, the metrics and `onewriter doctor`. Then the guide's remedy has to help.
 */

const DISK_MEGABYTES = 192;
const TENANTS = ['acme', 'globex', 'initech'];
const PATIENT = { timeoutMs: 60_000, intervalMs: 100 };

let redis: TestRedis;
let folder: TemporaryDirectory;
let disk: string;
let unmount: () => void;
let stack: Stack;
let client: Onewriter;
let looker: Redis;
const load = { stopped: false, acknowledged: new Map<string, number[]>(), codes: new Map<string, number>() };
let loops: Promise<void>[] = [];

beforeAll(async () => {
  [redis, folder] = await Promise.all([
    startRedis({ appendonly: 'everysec' }),
    temporaryDirectory('on-call'),
  ]);
  disk = join(folder.path, 'disk');
  await mkdir(disk);
  // A machine where this cannot be done cannot show it: that is a failure, not a pass.
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MEGABYTES}m,mode=755`, 'onewriter-on-call', disk]);
  const untrack = trackHandle({ what: `mount ${disk}`, endNow: () => execFileSync('umount', ['-l', disk]) });
  unmount = () => {
    execFileSync('umount', ['-l', disk]);
    untrack();
  };
  stack = await startStack({ dataDir: disk, redisUrl: redis.url, args: ['--brokers', '2'] });
  client = await connect({ redis: redis.url, dataDir: disk, writeTimeoutMs: 30_000 });
  looker = new Redis(redis.url, { commandTimeout: 2_000, maxRetriesPerRequest: 1 });
  looker.on('error', () => {}); // stopped on purpose
  for (const tenant of TENANTS) {
    await client.tenant(tenant).exec('CREATE TABLE orders(n INTEGER PRIMARY KEY, body TEXT)');
    load.acknowledged.set(tenant, []);
  }
  loops = TENANTS.map(writeUntilStopped);
});

afterAll(async () => {
  load.stopped = true;
  await Promise.all(loops);
  await client?.close();
  looker?.disconnect();
  await stack?.stop();
  await redis?.stop();
  unmount?.();
  await folder?.remove();
});

/** The load: one write after the other, each remembered when it was reported as committed. */
async function writeUntilStopped(tenant: string): Promise<void> {
  const insert = client.tenant(tenant).prepare('INSERT INTO orders VALUES (?, ?)', { timeoutMs: 5_000 });
  const body = 'x'.repeat(1_000);
  for (let n = 1; !load.stopped; n++) {
    try {
      await insert.run(n, body);
      load.acknowledged.get(tenant)!.push(n);
    } catch (error) {
      const code = error instanceof OnewriterError ? error.code : String(error);
      load.codes.set(code, (load.codes.get(code) ?? 0) + 1);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }
}

/** Resolves when each tenant has committed `count` more writes than now. */
async function untilWritten(count: number, tenants: readonly string[] = TENANTS): Promise<void> {
  const before = tenants.map(tenant => load.acknowledged.get(tenant)!.length);
  await waitFor(
    () => tenants.every((tenant, index) => load.acknowledged.get(tenant)!.length >= before[index]! + count),
    { ...PATIENT, what: `${count} more writes of ${tenants.join()}` },
  );
}

interface Diagnosis {
  readonly check: string;
  readonly level: string;
  readonly found: string;
  readonly next: string | null;
}

/** What `onewriter doctor` finds wrong, one line each, with what it says to do. */
async function doctor(): Promise<string> {
  const result = await runCli(['doctor', '--json', '--data-dir', disk]);
  const { diagnoses } = parseJson<{ diagnoses: Diagnosis[] }>(result);
  return (
    diagnoses
      .filter(({ level }) => level === 'error' || level === 'warning')
      // A disk of this size is small from the beginning.
      .filter(({ check, level }) => check !== 'disk' || level === 'error')
      .map(({ check, level, found, next }) => `${level} ${check}: ${found} → ${next}`)
      .join('\n')
  );
}

/** The text of the overview page, as a person reads it. */
async function page(): Promise<string> {
  const headers = { authorization: `Bearer ${stack.token}` };
  const html = await (await fetch(`${stack.dashboardUrl}/`, { headers })).text();
  return html.replaceAll(/<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ');
}

/** What `onewriter status` shows as wrong. */
async function status(): Promise<string> {
  const { findings } = parseJson<{ findings: readonly { level: string; alert: string; text: string }[] }>(
    await runCli(['status', '--json', '--data-dir', disk]),
  );
  return findings.map(({ level, alert, text }) => `${level} ${alert}: ${text}`).join('\n');
}

/** A metric of the broker that leads; undefined where none does. Labels as in `name{code="X"}`. */
async function metric(series: string): Promise<number | undefined> {
  for (const url of stack.brokerUrls) {
    const text = await fetch(`${url}/metrics`).then(
      response => response.text(),
      () => '',
    );
    if (!/^onewriter_leading(?:\{[^}]*\})? 1$/m.test(text)) continue;
    const [name, label = ''] = series.replace('}', '').split('{');
    const line = text
      .split('\n')
      .find(one => one.startsWith(name!) && /[ {]/.test(one[name!.length]!) && one.includes(label));
    return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return undefined;
}

/** Waits until a text says all of `patterns`. */
async function untilSays(what: () => Promise<string>, ...patterns: RegExp[]): Promise<void> {
  let said = '';
  try {
    await waitFor(
      async () => {
        said = await what();
        return patterns.every(pattern => pattern.test(said));
      },
      { ...PATIENT, timeoutMs: 30_000 },
    );
  } catch (error) {
    for (const pattern of patterns) expect(said, String(error)).toMatch(pattern);
  }
}

/** Waits until nothing is wrong, and the load continues. Slow writes are reported for a while after they end. */
async function untilWell(): Promise<void> {
  await untilWritten(5);
  const past = /^warning OnewriterWritesDelayed: .*$/gm;
  await waitFor(async () => (await status()).replaceAll(past, '').trim() === '', {
    ...PATIENT,
    what: 'a status without findings',
  });
}

describe('five ways to break it, each found from what it shows', () => {
  it('under load it is well, and says so', async () => {
    await untilWell();
    expect(await doctor()).toBe('');
    expect(await metric('onewriter_parked_tenants')).toBe(0);
  });

  it('the leader is killed: another leads, with the next epoch', async () => {
    const epoch = (await metric('onewriter_epoch'))!;
    const { leader } = (await readGroupStatus(looker, 'default')).status!;
    process.kill(leader.pid, 'SIGKILL');
    await waitFor(async () => ((await metric('onewriter_epoch')) ?? 0) > epoch, {
      ...PATIENT,
      what: 'a leader',
    });
    await untilWell();
    const now = await readGroupStatus(looker, 'default');
    expect(now.status!.leader.pid).not.toBe(leader.pid);
    const diagnosis = parseJson<{ diagnoses: Diagnosis[] }>(
      await runCli(['doctor', '--json', '--data-dir', disk]),
    ).diagnoses.find(({ check }) => check === 'leader')!;
    expect(diagnosis.found).toContain(`pid ${now.status!.leader.pid} `);
    expect(diagnosis.found).toContain(`epoch ${await metric('onewriter_epoch')}`);
  });

  it('the disk is full: disk and tenants are named, and it recovers when there is room', async () => {
    const filler = join(disk, 'other-program.log');
    const descriptor = openSync(filler, 'w');
    const megabyte = Buffer.alloc(1024 * 1024, 1);
    expect(() => {
      for (;;) writeSync(descriptor, megabyte);
    }).toThrow(/ENOSPC/);
    closeSync(descriptor);
    await untilSays(
      status,
      /critical OnewriterDiskFull: .* nearly full/,
      /OnewriterTenantParked: acme .*DATABASE_FULL/,
    );
    await untilSays(doctor, /error disk: .*→ .*[Ff]ree/, /parked: acme cannot be written .*DATABASE_FULL/);
    await untilSays(page, /disk of \S+ is nearly full/, /acme cannot be written/);
    expect((await metric('onewriter_disk_free_bytes'))!).toBeLessThan(0.03 * DISK_MEGABYTES * 1024 * 1024);
    expect(await metric('onewriter_parked_tenants')).toBeGreaterThan(0);
    expect(await metric('onewriter_refused_batches_total{code="DATABASE_FULL"}')).toBeGreaterThan(0);
    rmSync(filler);
    await untilWell();
    expect(await metric('onewriter_parked_tenants')).toBe(0);
  });

  it('Redis is stopped: every process says that it is Redis, reads continue, and nothing is lost', async () => {
    redis.kill();
    const reasons = async (url: string) =>
      ((await (await fetch(`${url}/readyz`)).json()) as { reasons: string[] }).reasons.join();
    for (const url of [...stack.brokerUrls, stack.gatewayUrl, stack.dashboardUrl]) {
      await untilSays(() => reasons(url), /Redis does not answer/);
    }
    await untilSays(doctor, /error redis: .*→ /);
    await untilSays(page, /Redis does not answer: nothing can be written/);
    expect(await client.tenant('acme').prepare('SELECT count(*) AS n FROM orders').get()).toEqual({
      n: expect.any(Number),
    });
    await redis.restart();
    await untilWell();
  });

  it('a tenant file is damaged: the tenant, the file and the remedy are named, and a restore mends it', async () => {
    const tenant = 'hooli';
    await client.tenant(tenant).exec('CREATE TABLE t(n); INSERT INTO t VALUES (1)');
    const backups = join(folder.path, 'backups');
    const made = parseJson(await runCli(['backup', tenant, '--out', backups, '--json', '--data-dir', disk]));
    expect(JSON.stringify(made)).toContain(backups);
    const cli = async (...args: string[]) => {
      const result = await runCli([...args, '--data-dir', disk]);
      expect(result.code, result.stderr).toBe(0);
      return result;
    };
    await cli('tenants', 'pause', tenant);
    const file = tenantFile(disk, tenant);
    for (const part of ['-wal', '-shm']) rmSync(file + part, { force: true });
    copyFileSync('/etc/passwd', file);
    await cli('tenants', 'resume', tenant);
    const receipt = await client.tenant(tenant).enqueue('INSERT INTO t VALUES (2)');
    await untilSays(status, /critical OnewriterTenantParked: hooli cannot be written: DATABASE_CORRUPT/);
    await untilSays(doctor, /error .*: hooli cannot be written .*DATABASE_CORRUPT .*→ .*onewriter restore/);
    await untilSays(page, /hooli cannot be written: DATABASE_CORRUPT/);
    expect(await metric('onewriter_parked_tenants')).toBe(1);
    expect(await metric('onewriter_refused_batches_total{code="DATABASE_CORRUPT"}')).toBeGreaterThan(0);
    const check = await runCli(['check', tenant, '--data-dir', disk]);
    expect([check.code, check.stdout]).toEqual([3, expect.stringMatching(/error +hooli/)]);
    const [backup] = execFileSync('find', [backups, '-name', '*.db'], { encoding: 'utf8' })
      .trim()
      .split('\n');
    await cli('restore', backup!, tenant, '--replace');
    // Enqueued writes were kept, and are applied to the restored file.
    await receipt.committed({ timeoutMs: 30_000 });
    expect(await client.tenant(tenant).prepare('SELECT n FROM t').all()).toEqual([{ n: 1 }, { n: 2 }]);
    await untilWell();
  });

  it('a reader ends no transaction: the tenant and the process are named, and its end is enough', async () => {
    await using reader = await spawnProcess(process.execPath, [
      '-e',
      `const db = new (require('better-sqlite3'))(process.argv[1], { readonly: true });
       db.exec('BEGIN'); db.prepare('SELECT count(*) FROM orders').get();
       console.log('reading'); setInterval(() => {}, 1000);`,
      tenantFile(disk, 'globex'),
    ]);
    await waitFor(() => reader.stdout().includes('reading'), { ...PATIENT, what: 'the reader' });
    const big = client.tenant('globex').prepare('INSERT INTO orders VALUES (?, zeroblob(1000000))');
    for (let n = -1; n > -30; n--) await big.run(n);
    const named = new RegExp(`log of globex grows .*the reader ${reader.pid} `);
    await untilSays(status, named);
    await untilSays(doctor, named);
    await untilSays(page, named);
    expect(await metric('onewriter_wal_held_tenants')).toBe(1);
    expect(await metric('onewriter_wal_held_largest_bytes')).toBeGreaterThan(16 * 1024 * 1024);
    reader.kill('SIGTERM');
    await reader.exited;
    await untilWell();
  });

  it('after all that every write that was reported as committed is there', async () => {
    load.stopped = true;
    await Promise.all(loops);
    for (const tenant of TENANTS) {
      const there = new Set(
        (await client.tenant(tenant).prepare('SELECT n FROM orders').all()).map(
          row => (row as { n: number }).n,
        ),
      );
      const acknowledged = load.acknowledged.get(tenant)!;
      expect(acknowledged.filter(n => !there.has(n))).toEqual([]);
      expect(acknowledged.length).toBeGreaterThan(20);
    }
    // Reported as they were: the disk, the queue that was away, and only codes that a caller can act on.
    expect([...load.codes.keys()].filter(code => code === 'INTERNAL')).toEqual([]);
  });
});
