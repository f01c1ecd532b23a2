import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isEnded, newOperationId, type Operation, OperationStore, runOperation } from '@onewriter/operations';
import { DEFAULT_GROUP, groupKeys, OnewriterError } from '@onewriter/protocol';
import {
  CLI_MAIN,
  spawnProcess,
  startRedis,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { slowSchema } from './slow-schema.ts';

const OPERATION = { kind: 'check', who: 'test', tenants: ['acme'], unit: 'tenants' } as const;

let redis: TestRedis;
let data: TemporaryDirectory;
let commands: Redis;
let store: OperationStore;

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('long-work');
  commands = new Redis(redis.url);
  store = new OperationStore(commands, DEFAULT_GROUP);
  const plain = 'CREATE TABLE t(a); INSERT INTO t VALUES (1)';
  for (const [tenant, schema] of Object.entries({ acme: plain, globex: plain, slow: slowSchema() })) {
    const folder = join(data.path, 'tenants', tenant);
    mkdirSync(folder, { recursive: true });
    const db = new Database(join(folder, 'tenant.db'));
    db.exec(schema);
    db.close();
  }
});
afterAll(async () => {
  commands?.disconnect();
  await redis?.stop();
  await data?.remove();
});

function start(args: readonly string[], redisUrl = redis.url) {
  return spawnProcess(process.execPath, [CLI_MAIN, ...args, '--data-dir', data.path], {
    env: { ...withoutSettings(), ONEWRITER_REDIS_URL: redisUrl },
  });
}

async function onewriter(...args: string[]) {
  const child = await start(args);
  const { code } = await child.exited;
  return { code, stdout: child.stdout(), stderr: child.stderr() };
}

async function newest(kind: string): Promise<Operation | undefined> {
  const found = (await store.list()).find(operation => operation.kind === kind);
  return found === undefined ? undefined : store.get(found.id);
}

/** Starts a check that takes a minute. */
async function startSlowCheck() {
  const child = await start(['check', 'slow', '--json']);
  const operation = await waitFor(
    async () => (await store.list()).find(({ kind, state }) => kind === 'check' && state === 'running'),
    { timeoutMs: 20_000, what: 'the check is listed' },
  );
  return { child, id: operation!.id };
}

describe('onewriter operations', () => {
  it('lists a backup, its progress and its result', async () => {
    expect(await onewriter('backup', 'acme')).toMatchObject({ code: 0, stderr: '' });
    const backup = await newest('backup');
    expect(backup).toMatchObject({
      state: 'done',
      who: expect.stringContaining('(command line)'),
      tenants: ['acme'],
      progress: { done: 1, total: 1, unit: 'tenants', remainingMs: null },
      result: { tenants: 1, failed: 0, backups: [{ tenant: 'acme', file: expect.stringMatching(/\.db$/) }] },
      error: null,
    });
    const listed = JSON.parse((await onewriter('operations', '--json')).stdout);
    expect(listed).toMatchObject([{ id: backup!.id, state: 'done' }]);
    const shown = await onewriter('operations', 'show', backup!.id);
    expect(shown.stdout).toContain('backup of acme: done');
    expect((await onewriter('operations', 'watch', backup!.id)).code).toBe(0);
  });

  it('lists a failed one with its error and its lines, and one that finds damage as done', async () => {
    expect((await onewriter('backup', 'missing')).code).toBe(1);
    const failed = await newest('backup');
    expect(failed).toMatchObject({ state: 'failed', error: { code: 'TENANT_NOT_FOUND' }, logged: 1 });
    expect((await store.get(failed!.id)).log).toEqual([expect.stringContaining('missing: TENANT_NOT_FOUND')]);
    expect((await onewriter('operations', 'watch', failed!.id)).code).toBe(1);
    expect((await onewriter('check', 'acme')).code).toBe(0);
    expect(await newest('check')).toMatchObject({ state: 'done', result: { tenants: 1, errors: 0 } });
  });

  it('lists a restore', async () => {
    await onewriter('backup', 'acme');
    const [file] = readdirSync(join(data.path, 'backups', 'acme')).filter(name => name.endsWith('.db'));
    // No broker runs: the command still waits for one to write the copy when the restore is done.
    const restore = await start(['restore', join(data.path, 'backups', 'acme', file!), 'copy']);
    onTestFinished(() => restore.kill('SIGKILL'));
    const done = await waitFor(
      async () => {
        const operation = await newest('restore');
        return operation !== undefined && isEnded(operation.state) ? operation : undefined;
      },
      { timeoutMs: 20_000, what: 'the restore' },
    );
    expect(done).toMatchObject({
      state: 'done',
      tenants: ['copy'],
      progress: { done: 2, total: 2 },
      result: { tenant: 'copy', rows: 1 },
    });
  });

  it('cancels one that another process carries out, and a watcher sees it', async () => {
    const { child, id } = await startSlowCheck();
    const watching = await start(['operations', 'watch', id, '--json']);
    await waitFor(() => watching.stdout() !== '', { timeoutMs: 20_000 });
    expect(await onewriter('operations', 'cancel', id)).toMatchObject({ code: 0 });
    expect((await child.exited).code).toBe(1);
    expect(JSON.parse(child.stderr())).toMatchObject({ error: { code: 'ABORTED' } });
    expect((await watching.exited).code).toBe(1);
    const last = JSON.parse(watching.stdout().trim().split('\n').at(-1)!);
    expect(last).toMatchObject({ id, state: 'cancelled', cancelledBy: expect.stringContaining('@') });
    expect((await onewriter('operations', 'cancel', id)).stdout).toContain('has ended already: cancelled');
  });

  it('continues a backup that was stopped, and leaves out what that has done', async () => {
    const out = join(data.path, 'resumed');
    const child = await start(['backup', '--all', '--out', out, '--jobs', '1', '--json']);
    const inSlow = () => (existsSync(join(out, 'slow')) ? readdirSync(join(out, 'slow')) : []);
    await waitFor(() => inSlow().some(name => name.endsWith('.part')), { timeoutMs: 20_000 });
    const { id } = (await waitFor(async () => {
      const found = await newest('backup');
      return found?.detail === out && found.state === 'running' ? found : undefined;
    }))!;
    child.kill('SIGINT');
    expect((await child.exited).code).toBe(1);
    expect(JSON.parse(child.stderr())).toMatchObject({ error: { code: 'ABORTED' } });
    expect(inSlow()).toEqual([]);
    expect(await store.get(id)).toMatchObject({ state: 'interrupted' });
    const done = readdirSync(join(out, 'acme'));

    const resumed = await onewriter('backup', 'acme', '--out', out, '--resume', id);
    expect(resumed).toMatchObject({ code: 0, stdout: 'Nothing is left.\n' });
    expect(readdirSync(join(out, 'acme'))).toEqual(done);
    expect(
      (await onewriter('backup', 'acme', '--out', join(data.path, 'elsewhere'), '--resume', id)).stdout,
    ).toContain('1 of 1 backed up');
    const check = (await newest('check'))!;
    expect(await onewriter('backup', '--all', '--resume', check.id)).toMatchObject({ code: 2 });
  });

  it('shows one whose process was killed as interrupted', async () => {
    const { child, id } = await startSlowCheck();
    child.kill('SIGKILL');
    await child.exited;
    // As if the time had passed that a process may be silent.
    await commands.hset(`${groupKeys(DEFAULT_GROUP).operations}:${id}`, 'renewedAt', Date.now() - 60_000);
    expect(await store.get(id)).toMatchObject({ state: 'interrupted', error: { code: 'ABORTED' } });
  });

  it('has no process left whose parent died while it connected to Redis', async () => {
    const entry = new URL('processes/job-process.js', import.meta.resolve('@onewriter/files'));
    const place = { dataDir: data.path, group: DEFAULT_GROUP, dbFile: 'tenant.db', busyTimeoutMs: 100 };
    const settings = JSON.stringify({ place, job: { kind: 'check', verification: 'quick' } });
    await commands.client('PAUSE', 1_000, 'ALL');
    const child = fork(entry, [settings], { env: { ...withoutSettings(), ONEWRITER_REDIS_URL: redis.url } });
    onTestFinished(() => void child.kill('SIGKILL'));
    child.disconnect();
    const [code] = await once(child, 'exit', { signal: AbortSignal.timeout(15_000) });
    expect(code).toBe(0);
  });

  it('says what there is not', async () => {
    expect(await onewriter('operations', 'show', 'op-1')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('NOT_FOUND'),
    });
    expect((await onewriter('operations', 'list', '--state', 'asleep')).code).toBe(2);
  });

  it('does the work without Redis as well, with a note', async () => {
    const child = await start(['backup', 'acme'], 'redis://127.0.0.1:1');
    expect((await child.exited).code).toBe(0);
    expect(child.stdout()).toContain('1 of 1 backed up and verified');
    expect(child.stderr()).toMatch(/^onewriter: not listed by `onewriter operations`: .*\n$/);
    const asJson = await start(['backup', 'acme', '--json'], 'redis://127.0.0.1:1');
    expect((await asJson.exited).code).toBe(0);
    expect(asJson.stderr()).toBe('');
  });
});

describe('records of operations', () => {
  const summarize = () => ({ result: { fine: true } });

  it('are bounded: those that ended go first', async () => {
    const group = 'bounded';
    const many = new OperationStore(commands, group);
    const first = newOperationId();
    await many.add(first, OPERATION, 'running');
    for (let index = 0; index < 220; index++) {
      const id = newOperationId();
      await many.add(id, OPERATION, 'running');
      await many.end(id, 'done', undefined, undefined);
    }
    const kept = await many.list();
    expect(kept).toHaveLength(200);
    expect(kept.at(-1)!.id).toBe(first);
    const keys = await commands.keys(`${groupKeys(group).operations}:*`);
    expect(keys).toHaveLength(200);
    for (const key of keys) expect(await commands.pttl(key)).toBeGreaterThan(0);
  });

  it('keep the newest lines, and count all', async () => {
    const group = 'lines';
    const lines = new OperationStore(commands, group);
    await runOperation(OPERATION, { open: async () => lines, summarize }, async context => {
      const write = (from: number, to: number) => {
        for (let line = from; line <= to; line++) context.log(`line ${line}`);
      };
      write(1, 150);
      const isThere = async () => (await lines.find(context.id))?.logged === 150;
      await waitFor(isThere, { timeoutMs: 5_000 });
      write(151, 1_000);
    });
    const [operation] = await lines.list();
    const { log, logged, state } = await lines.get(operation!.id);
    expect({ state, logged, kept: log.length }).toEqual({ state: 'done', logged: 1_000, kept: 200 });
    expect([log[0], log.at(-1)]).toEqual(['line 801', 'line 1000']);
    // The index, and both keys of the record.
    const keys = await commands.keys(`${groupKeys(group).operations}*`);
    expect(keys).toHaveLength(3);
    for (const key of keys) expect(await commands.pttl(key)).toBeGreaterThan(0);
  });

  it('are written again where Redis has lost them', async () => {
    const group = 'lost';
    const lost = new OperationStore(commands, group);
    await runOperation(OPERATION, { open: async () => lost, summarize }, async context => {
      const { id } = context;
      const there = async () => (await lost.find(id)) !== undefined;
      await waitFor(there, { timeoutMs: 5_000 });
      await commands.del(`${groupKeys(group).operations}:${id}`);
      context.progress(3, 7);
      await waitFor(there, { timeoutMs: 5_000 });
      await waitFor(async () => (await lost.get(id)).progress.done === 3, { timeoutMs: 5_000 });
    });
    const [operation] = await lost.list();
    expect(isEnded(operation!.state)).toBe(true);
  });

  it('say that a process which ends has interrupted its work, and that it was cancelled where a person did', async () => {
    const group = 'ends';
    const ends = new OperationStore(commands, group);
    const closing = new AbortController();
    const untilStopped = (signal: AbortSignal) =>
      new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const run = (signal?: AbortSignal) =>
      runOperation(OPERATION, { open: async () => ends, summarize, signal }, context =>
        untilStopped(context.signal),
      );
    const interrupted = run(closing.signal);
    await waitFor(async () => (await ends.list()).length === 1, { timeoutMs: 5_000 });
    closing.abort(new OnewriterError('ABORTED', 'The gateway stops.'));
    await expect(interrupted).rejects.toThrow('The gateway stops.');
    expect(await ends.list()).toMatchObject([
      { state: 'interrupted', error: { message: 'The gateway stops.' } },
    ]);
    const cancelled = run(new AbortController().signal);
    await waitFor(async () => (await ends.list()).length === 2, { timeoutMs: 5_000 });
    await ends.cancel((await ends.list())[0]!.id, 'bob');
    await expect(cancelled).rejects.toThrow('bob cancelled it');
    expect((await ends.list())[0]).toMatchObject({ state: 'cancelled', cancelledBy: 'bob' });
  });
});
