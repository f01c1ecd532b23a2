import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { type JobOutcome, parseJobs, runInProcesses } from './job-processes.ts';

const SETTINGS = {
  dataDir: undefined,
  job: { kind: 'check', verification: 'quick', withRedis: false },
} as const;
/** Answers with its process id, the longer the earlier in the alphabet; `kill` ends it, `refuse` is an error. */
const SCRIPT = `
process.on('disconnect', () => process.exit(0));
process.on('message', ({ tenant }) => {
  if (tenant === 'kill') process.kill(process.pid, 'SIGKILL');
  else if (tenant === 'exit') process.exit(7);
  else if (tenant === 'refuse') process.send({ tenant, error: { code: 'DATABASE_CORRUPT', message: 'no' } });
  else setTimeout(() => process.send({ tenant, result: process.pid }), tenant === 'a' ? 300 : 5);
});`;

function entryOf(script: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-jobs-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const entry = join(folder, 'jobs.cjs');
  writeFileSync(entry, script);
  return entry;
}

async function run(tenants: readonly string[], jobs: number): Promise<[string, JobOutcome<number>][]> {
  const done: [string, JobOutcome<number>][] = [];
  await runInProcesses<number>(SETTINGS, tenants, jobs, (...entry) => void done.push(entry), entryOf(SCRIPT));
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

it('fails the tenant whose job ends its process, and goes on with the others', async () => {
  const done = await run(['b', 'kill', 'refuse', 'c', 'exit', 'd'], 1);
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
});

it('gives up where a process cannot start', async () => {
  const tenants = Array.from({ length: 50 }, (_, index) => `t${index}`);
  const seen: string[] = [];
  await expect(
    runInProcesses(
      SETTINGS,
      tenants,
      2,
      tenant => void seen.push(tenant),
      entryOf("throw new Error('no such module')"),
    ),
  ).rejects.toThrow(/ended \(code 1\)/);
  expect(seen).toEqual([]);
});

it('takes --jobs from 1 to 64; its default is no more than the machine has processors', () => {
  expect(['1', '7', '64'].map(parseJobs)).toEqual([1, 7, 64]);
  const chosen = parseJobs(undefined);
  expect(chosen).toBeGreaterThanOrEqual(1);
  expect(chosen).toBeLessThanOrEqual(Math.min(4, availableParallelism()));
});

it.each(['0', '65', '1.5', 'many', ''])('refuses --jobs %s', text => {
  expect(() => parseJobs(text)).toThrow(/--jobs takes a number from 1 to 64/);
});
