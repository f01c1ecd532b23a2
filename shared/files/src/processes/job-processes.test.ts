import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { chooseProcesses, type JobOutcome, type ProcessOptions, runInProcesses } from './job-processes.ts';

const SETTINGS = {
  place: { dataDir: '/nowhere', group: 'main', dbFile: 'tenant.db', busyTimeoutMs: 1_000 },
  job: { kind: 'check', verification: 'quick' },
} as const;
const LIMITS = { timeoutMs: () => 20_000, memoryBytes: 768 * 1024 * 1024 };
/** Answers with its process id, the longer the earlier in the alphabet; `kill` ends it, `refuse` is an error. */
const SCRIPT = `
process.on('disconnect', () => process.exit(0));
let last = Promise.resolve();
process.on('message', ({ tenant }) => void (last = last.then(() => run(tenant))));
const run = tenant => new Promise(done => {
  const answer = more => process.send({ tenant, ...more }, done);
  if (tenant === 'kill') process.kill(process.pid, 'SIGKILL');
  else if (tenant === 'exit') process.exit(7);
  else if (tenant === 'refuse') answer({ error: { code: 'DATABASE_CORRUPT', message: 'no' } });
  else setTimeout(() => answer({ result: process.pid }), tenant === 'a' ? 300 : 5);
});`;

function entryOf(script: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-jobs-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const entry = join(folder, 'jobs.cjs');
  writeFileSync(entry, script);
  return entry;
}

async function run(
  tenants: readonly string[],
  jobs: number,
  bytesOf?: ProcessOptions['bytesOf'],
): Promise<[string, JobOutcome<number>][]> {
  const done: [string, JobOutcome<number>][] = [];
  const options = { jobs, limits: LIMITS, bytesOf, entry: entryOf(SCRIPT) };
  await runInProcesses<number>(SETTINGS, tenants, options, (...entry) => void done.push(entry));
  return done;
}

it('works on several tenants at a time, and reports them in their order', async () => {
  const tenants = ['a', 'b', 'c', 'd', 'e', 'f'];
  const done = await run(tenants, 3);
  expect(done.map(([tenant]) => tenant)).toEqual(tenants);
  const pids = done.map(([, outcome]) => 'result' in outcome && outcome.result);
  expect(new Set(pids).size).toBeGreaterThan(1);
  expect(new Set(pids).size).toBeLessThanOrEqual(3);
  // The first is slow: the others did not wait for it.
  expect(pids.slice(1)).not.toContain(pids[0]);
});

// Small files are sent ahead: those that the process had not begun are done by the next.
it.each([
  ['large', undefined],
  ['small', () => 1],
])(
  'fails the tenant whose job ends its process, and continues with the others: %s files',
  async (_, bytesOf) => {
    const done = await run(['b', 'kill', 'refuse', 'c', 'exit', 'd'], 1, bytesOf);
    expect(done).toEqual([
      ['b', { result: expect.any(Number) }],
      [
        'kill',
        { error: expect.objectContaining({ code: 'INTERNAL', message: expect.stringContaining('SIGKILL') }) },
      ],
      ['refuse', { error: expect.objectContaining({ code: 'DATABASE_CORRUPT' }) }],
      ['c', { result: expect.any(Number) }],
      ['exit', { error: expect.objectContaining({ code: 'INTERNAL' }) }],
      ['d', { result: expect.any(Number) }],
    ]);
  },
);

it('stops the job of a tenant that takes longer or more memory than it may, and continues with the others', async () => {
  const hostile = `
process.on('disconnect', () => process.exit(0));
process.on('message', ({ tenant }) => {
  if (tenant === 'endless') for (;;);
  if (tenant === 'large') for (const kept = []; ; ) kept.push(Buffer.alloc(16 * 1024 * 1024, 1));
  process.send({ tenant, result: 'done' });
});`;
  const done: [string, JobOutcome<string>][] = [];
  const limits = { ...LIMITS, timeoutMs: (tenant: string) => (tenant === 'endless' ? 300 : 20_000) };
  await runInProcesses<string>(
    SETTINGS,
    ['endless', 'b', 'large', 'c'],
    { jobs: 1, limits, bytesOf: () => 1, entry: entryOf(hostile) },
    (...entry) => void done.push(entry),
  );
  expect(done).toEqual([
    ['endless', { error: expect.objectContaining({ code: 'STATEMENT_TIMEOUT' }) }],
    ['b', { result: 'done' }],
    ['large', { error: expect.objectContaining({ code: 'RESULT_TOO_LARGE' }) }],
    ['c', { result: 'done' }],
  ]);
});

it('gives up where a process cannot start', async () => {
  const tenants = Array.from({ length: 50 }, (_, index) => `t${index}`);
  const seen: string[] = [];
  await expect(
    runInProcesses(
      SETTINGS,
      tenants,
      { jobs: 2, limits: LIMITS, entry: entryOf("throw new Error('no such module')") },
      tenant => void seen.push(tenant),
    ),
  ).rejects.toThrow(/ended \(code 1\)/);
  expect(seen).toEqual([]);
});

it.each([
  [2_000, 4_096, 4, 4],
  [500, 4_096, 4, 2],
  [100, 4_096, 4, 1],
  [4, 2 ** 30, 4, 4],
  [3, 2 ** 30, 4, 3],
  [0, 0, 4, 0],
])('for %i tenants of %i bytes with --jobs %i it starts %i processes', (count, bytes, jobs, expected) => {
  const tenants = Array.from({ length: count }, (_, index) => `t${index}`);
  expect(chooseProcesses(tenants, { jobs, limits: LIMITS, bytesOf: () => bytes })).toBe(expected);
});

it('gives a process the next small file before it has answered, and never a large one', async () => {
  // Answers each with how many it had by then.
  const script = `
let count = 0;
process.on('message', ({ tenant }) => { count++; setTimeout(() => process.send({ tenant, result: count }), 300); });`;
  const counts = async (bytes: number) => {
    const results: unknown[] = [];
    await runInProcesses(
      SETTINGS,
      ['a', 'b', 'c'],
      { jobs: 1, limits: LIMITS, bytesOf: () => bytes, entry: entryOf(script) },
      (_, outcome) => void results.push('result' in outcome && outcome.result),
    );
    return results;
  };
  expect(await counts(4_096)).toEqual([3, 3, 3]);
  expect(await counts(2 ** 30)).toEqual([1, 2, 3]);
});

it('stops its processes when it is asked to, and says so', async () => {
  const stopping = new AbortController();
  const endless = `
process.on('message', ({ tenant }) => { if (tenant === 'a') process.send({ tenant, result: process.pid }); else for (;;); });`;
  const pids: unknown[] = [];
  const done = runInProcesses(
    SETTINGS,
    ['a', 'b', 'c'],
    { jobs: 1, limits: LIMITS, bytesOf: () => 2 ** 30, entry: entryOf(endless), signal: stopping.signal },
    (_, outcome) => {
      pids.push('result' in outcome && outcome.result);
      stopping.abort();
    },
  );
  await expect(done).rejects.toMatchObject({ code: 'ABORTED' });
  expect(pids).toEqual([expect.any(Number)]);
  expect(() => process.kill(pids[0] as number, 0)).toThrow(/ESRCH/);
  const again = runInProcesses(
    SETTINGS,
    ['a'],
    { jobs: 1, limits: LIMITS, signal: stopping.signal },
    () => {},
  );
  await expect(again).rejects.toMatchObject({ code: 'ABORTED' });
});

it('removes the drafts of backups that it stopped, and leaves those of others', async () => {
  const out = mkdtempSync(join(tmpdir(), 'onewriter-drafts-'));
  onTestFinished(() => rmSync(out, { recursive: true, force: true }));
  for (const tenant of ['a', 'b']) {
    mkdirSync(join(out, tenant));
    writeFileSync(join(out, tenant, '.1.1.part'), 'of another process');
    writeFileSync(join(out, tenant, 'older.db'), 'a backup');
  }
  const script = `
const { writeFileSync } = require('node:fs');
process.on('message', ({ tenant }) => {
  writeFileSync(\`${out}/\${tenant}/.2.\${process.pid}.part\`, 'half a copy');
  writeFileSync(\`${out}/\${tenant}/.2.\${process.pid}.part-journal\`, '');
  for (;;);
});`;
  const stopping = new AbortController();
  const done = runInProcesses(
    { ...SETTINGS, job: { kind: 'backup', out, verification: 'quick' } },
    ['a', 'b'],
    { jobs: 2, limits: LIMITS, entry: entryOf(script), signal: stopping.signal },
    () => {},
  );
  const namesIn = (tenant: string) => readdirSync(join(out, tenant)).sort();
  await vi.waitFor(() => expect([namesIn('a').length, namesIn('b').length]).toEqual([4, 4]), 10_000);
  stopping.abort();
  await expect(done).rejects.toMatchObject({ code: 'ABORTED' });
  expect([namesIn('a'), namesIn('b')]).toEqual([
    ['.1.1.part', 'older.db'],
    ['.1.1.part', 'older.db'],
  ]);
});
