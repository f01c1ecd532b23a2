import { expect, test } from 'vitest';
import { Branches } from './branches.ts';
import type { FromReplicator } from './messages.ts';
import type { PackedTenant } from './ship-state.ts';
import type { LineState, TenantLine } from './tenant-line.ts';

const DAY_MS = 24 * 3_600_000;
const NOW = 100 * DAY_MS;
const STORED = { tenant: 'acme', pos: 9, commitSeq: 7, epoch: 2, incarnation: '', commitMs: 5, storedMs: 6 };

function createBranches({
  state = 'chained' as LineState,
  base = undefined as TenantLine['base'],
  epoch = 2,
  retentionMs = 30 * DAY_MS,
} = {}) {
  const posted: FromReplicator[] = [];
  const begun: unknown[] = [];
  const branches = new Branches({
    lines: new Map([['acme', { state, base }]]),
    stored: new Map([['acme', { ...STORED, epoch }]]),
    retentionMs,
    nowMs: () => NOW,
    post: message => posted.push(message),
  });
  const line = { tenant: 'branch', mayBegin: true, begins: (...args: unknown[]) => void begun.push(args) };
  const begin = (more: { from?: string; pos?: number; atMs?: number } = {}) => {
    const { from = 'acme', pos, atMs = NOW } = more;
    const at = pos === undefined ? undefined : { tenant: 'acme', pos, commitSeq: 3, epoch: 1, atMs };
    branches.begin(line, { kind: 'base', tenant: 'branch', from, at, bytes: 8, request: 'r1' });
    return posted.at(-1);
  };
  return { branches, line, posted, begun, begin };
}

const packOf = (kind: string) =>
  [{ line: { tenant: 'branch' }, items: [{ kind: 'entry', entry: { kind } }] }] as unknown as PackedTenant[];

test('a branch begins at the newest commit that is stored, and is answered when it is stored itself', () => {
  const { branches, begun, posted, begin } = createBranches();
  begin();
  const at = { tenant: 'acme', pos: 9, commitSeq: 7, epoch: 2, atMs: 5 };
  expect([begun, posted]).toEqual([[[{ tenant: 'acme', pos: 9, atMs: 5, bytes: 8, request: 'r1' }, at]], []]);
  branches.onStored(packOf('full'));
  expect(posted).toEqual([]);
  branches.onStored(packOf('base'));
  branches.onStored(packOf('base'));
  expect(posted).toEqual([{ kind: 'based', tenant: 'branch', at, bytes: 8 }]);
});

test('a branch begins at a commit as long as each is kept for longer than an expiry takes', () => {
  const { begun, begin } = createBranches();
  expect(begin({ pos: 4, atMs: NOW - DAY_MS + 3_599_999 })).toMatchObject({
    refused: expect.stringContaining('expire'),
  });
  expect(begin({ pos: 10 })).toMatchObject({ refused: expect.stringContaining('not stored') });
  begin({ pos: 4, atMs: NOW - DAY_MS + 3_600_000 });
  expect(begun).toMatchObject([[{ pos: 4 }, { commitSeq: 3, epoch: 1 }]]);
  const brief = createBranches({ retentionMs: 2 * 3_600_000 });
  expect(brief.begin({ pos: 4, atMs: NOW - 3_600_001 })).toMatchObject({ refused: expect.any(String) });
});

test('a branch is refused where its parent is not what is stored, its name is taken, or expiry waits', () => {
  for (const { begin } of [createBranches({ state: 'needs-full' }), createBranches({ epoch: 0 })])
    expect(begin()).toMatchObject({ refused: expect.any(String) });
  const { branches, line, begun, begin } = createBranches();
  expect(begin({ from: 'unknown' })).toMatchObject({ refused: expect.any(String) });
  line.mayBegin = false;
  expect(begin()).toMatchObject({ refused: expect.stringContaining('already') });
  line.mayBegin = true;
  branches.isHeld = true;
  expect(begin()).toMatchObject({ refused: expect.stringContaining('expires') });
  expect(begun).toEqual([]);
});

test('a branch of a branch without pages names the one that has them', () => {
  const { begun, begin } = createBranches({ base: { tenant: 'first', pos: 4 } });
  begin();
  expect(begun).toMatchObject([
    [
      { tenant: 'first', pos: 4 },
      { commitSeq: 7, epoch: 2 },
    ],
  ]);
});
