import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import type { LineState } from '../ship/tenant-line.ts';
import { TenantRehearsals, type TenantRehearsalsOptions } from './tenant-rehearsals.ts';

type Line = TenantRehearsalsOptions['lines'] extends ReadonlyMap<string, infer L> ? L : never;

const HOUR_MS = 3_600_000;
let dataDir: string;
let nowMs: number;
let lines: Map<string, Line>;
let stored: Set<string>;
let done: string[];
let problemsOf: Map<string, string[]>;
let errors: string[];
/** Called while a rehearsal is under way. */
let meanwhile: (tenant: string, signal: AbortSignal) => void;

const line = (state: LineState = 'chained', items: Line['items'] = []): Line => ({ state, items });

function start() {
  const rehearsals = new TenantRehearsals({
    ...{ dataDir, lines, stored, nowMs: () => nowMs },
    verify: async (tenant, signal) => {
      done.push(tenant);
      await turn();
      meanwhile(tenant, signal);
      const problems = problemsOf.get(tenant) ?? [];
      const report = { tenant, ok: problems.length === 0, problems, pos: 3, commitSeq: 4 };
      return { ...report, sameAsFile: true, bytes: 1, ms: 1 };
    },
    onError: (_, error) => errors.push((error as Error).message),
  });
  onTestFinished(() => rehearsals.close());
  return rehearsals;
}

/** Lets time pass, a quarter of an hour at a time. */
async function pass(rehearsals: TenantRehearsals, ms: number) {
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs += HOUR_MS / 4;
    rehearsals.advance();
    for (let turns = 0; turns < 4; turns++) await turn();
  }
}

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-rehearsals-'));
  const folder = dataDir;
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  [nowMs, done, problemsOf, errors] = [1e12, [], new Map(), []];
  lines = new Map([['a', line()] as const, ['b', line()] as const]);
  stored = new Set(['a', 'b', 'gone']);
  meanwhile = () => {};
});

it('rehearses tenants that are stored and up to date, and no others', async () => {
  for (const state of ['unknown', 'needs-full', 'reading', 'off', 'deleted'] as const)
    lines.set(state, line(state));
  for (const tenant of lines.keys()) stored.add(tenant);
  lines.set('new', line());
  lines.set('behind', line('chained', [{ sinceMs: 1 }] as unknown as Line['items']));
  stored.add('behind');
  const rehearsals = start();
  expect(rehearsals.status()).toMatchObject({ oldestAt: null, unverified: 5, lastAt: nowMs });
  await pass(rehearsals, 5 * HOUR_MS);
  expect(done).toEqual(['a', 'b']);
  expect(rehearsals.status()).toMatchObject({ sound: 2, unsound: 0, unverified: 3, failed: [] });
  expect(rehearsals.of('a')).toMatchObject({
    ok: true,
    pos: 3,
    commitSeq: 4,
    atMs: rehearsals.status().oldestAt,
  });
});

it('names those that are not sound until a later one is, or they are deleted', async () => {
  problemsOf.set('a', ['damaged']);
  problemsOf.set('b', ['another']);
  const rehearsals = start();
  await pass(rehearsals, HOUR_MS);
  const { failed } = rehearsals.status();
  expect(failed.map(({ tenant, problems }) => `${tenant} ${problems}`)).toEqual(['b another', 'a damaged']);
  problemsOf.delete('a');
  await pass(rehearsals, 2 * HOUR_MS);
  expect(rehearsals.status()).toMatchObject({ failedTenants: 1, failed: [{ tenant: 'b' }] });
  lines.set('b', line('deleted'));
  expect(rehearsals.status()).toMatchObject({ failedTenants: 0, failed: [] });
  rehearsals.forget('b');
  lines.set('b', line());
  expect(rehearsals.status()).toMatchObject({ failedTenants: 0, unverified: 1 });
});

it('does not begin again after a restart', async () => {
  problemsOf.set('b', ['damaged']);
  const before = start();
  await pass(before, HOUR_MS / 2);
  await before.close();
  const after = start();
  expect(after.status()).toMatchObject({ failed: [{ tenant: 'b' }], unverified: 0, lastAt: nowMs });
  problemsOf.clear();
  await pass(after, 20 * HOUR_MS);
  expect(done).toEqual(['a', 'b', 'b']);
});

it('counts for nothing what was found of a file that was replaced meanwhile, or fell behind', async () => {
  problemsOf.set('a', ['another content']);
  const rehearsals = start();
  meanwhile = tenant => rehearsals.forget(tenant);
  await pass(rehearsals, HOUR_MS / 4);
  expect([rehearsals.status().unsound, errors]).toEqual([0, []]);
  meanwhile = tenant => lines.set(tenant, line('needs-full'));
  lines.delete('b');
  await pass(rehearsals, 2 * HOUR_MS);
  expect(done).toEqual(['a', 'a']);
  expect(rehearsals.status()).toMatchObject({ unsound: 0, failed: [] });
  expect(errors).toEqual([expect.stringMatching(/^Nothing is known .* a: .* behind\. another content$/)]);
});

it('ends what runs when it is closed', async () => {
  const signals: AbortSignal[] = [];
  meanwhile = (_, signal) => signals.push(signal);
  const rehearsals = start();
  nowMs += HOUR_MS;
  rehearsals.advance();
  await rehearsals.close();
  expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  expect([rehearsals.status().sound, errors]).toEqual([0, []]);
});
