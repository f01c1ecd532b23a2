import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noteHibernated, OnewriterError } from '@onewriter/protocol';
import type { CatalogueEntry } from '@onewriter/tenants';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { Hibernation, type HibernationOptions } from './hibernation.ts';

const MINUTE = 60_000;
const NOW = 1_000 * MINUTE;
let dataDir: string;
let hibernated: [string, string][];
let settled: string[];

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-hibernation-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  hibernated = [];
  settled = [];
});

const tenant = (name: string, idleMinutes: number, more: Partial<CatalogueEntry> = {}): CatalogueEntry =>
  ({
    ...{ tenant: name, state: 'active', size: { bytes: 100, walBytes: 0 }, waitingJobs: 0, activeJobs: 0 },
    ...{ lastActivity: NOW - idleMinutes * MINUTE, durability: null, ...more },
  }) as CatalogueEntry;

function setUp(entries: readonly CatalogueEntry[], options: Partial<HibernationOptions> = {}) {
  let nowMs = NOW;
  const looked: string[][] = [];
  const hibernation = new Hibernation({
    place: { dataDir, dbFile: 'tenant.db', group: 'default', busyTimeoutMs: 100 },
    catalogue: {
      names: async () => entries.map(entry => entry.tenant),
      look: async names => {
        looked.push([...names]);
        return entries.filter(entry => names.includes(entry.tenant));
      },
    },
    afterMs: undefined,
    budgetBytes: undefined,
    hibernate: async ({ tenant, reason }) => void hibernated.push([tenant, reason]),
    settle: name => void settled.push(name),
    log: { info: vi.fn(), warn: vi.fn() } as unknown as HibernationOptions['log'],
    nowMs: () => nowMs,
    ...options,
  });
  /** A round, after the pause before it. */
  const round = async () => {
    const rounds = looked.length;
    nowMs += MINUTE;
    hibernation.tick();
    await vi.waitFor(() => expect(looked.length).toBe(rounds + 1));
    await new Promise(resolve => setTimeout(resolve));
  };
  return { hibernation, looked, round };
}

const names = () => hibernated.map(([name]) => name);

it('takes those that are idle for long enough, the longest first, and none that is in use', async () => {
  const held = { state: 'paused' } as const;
  const { looked, round } = setUp(
    [
      ...[
        tenant('active', 3),
        tenant('idle', 10),
        tenant('idler', 20),
        tenant('never', 0, { lastActivity: null }),
      ],
      ...[
        tenant('held', 30, held),
        tenant('queued', 30, { waitingJobs: 1 }),
        tenant('off', 30, { durability: 'off' }),
      ],
      ...[tenant('away', 30), tenant('open', 30), tenant('new', 30, { size: undefined })],
    ],
    { afterMs: 5 * MINUTE },
  );
  noteHibernated(dataDir, 'away', { commitSeq: 1, bytes: 1, since: '', who: '' });
  mkdirSync(join(dataDir, 'tenants/open'), { recursive: true });
  writeFileSync(join(dataDir, 'tenants/open/tenant.db-shm'), '');
  await round();
  expect(hibernated).toEqual([
    ['never', expect.stringMatching(/^idle for/)],
    ['idler', 'idle for 21 min'],
    ['idle', 'idle for 11 min'],
  ]);
  expect(looked.flat()).not.toContain('away');
  // What has it open, or had when it was killed, is not known; not again and again.
  await round();
  expect(settled).toEqual(['open']);
});

it('takes the longest idle where files are over their budget, until there is room again', async () => {
  const entries = [tenant('a', 3), tenant('b', 9), tenant('c', 6), tenant('busy', -1)];
  const { round } = setUp(entries, { budgetBytes: 350 });
  await round();
  expect(hibernated).toEqual([['b', 'over 350 B of files']]);
  hibernated = [];
  const full = setUp(entries, { budgetBytes: 100 });
  await full.round();
  expect(names()).toEqual(['b', 'c', 'a']);
});

it('tries one that failed later again, and does not take it for an end', async () => {
  let tries = 0;
  const { round } = setUp([tenant('bad', 30), tenant('good', 10)], {
    afterMs: 5 * MINUTE,
    hibernate: async ({ tenant, reason }) => {
      if (tenant === 'bad' && ++tries === 1) throw new OnewriterError('REPLICA_UNAVAILABLE', 'away');
      hibernated.push([tenant, reason]);
    },
  });
  await round();
  expect(names()).toEqual(['good']);
  for (let minute = 1; minute <= 9; minute++) await round();
  expect(tries).toBe(1);
  await round();
  expect([tries, names().includes('bad')]).toEqual([2, true]);
});

it('begins nothing after its end', async () => {
  const { hibernation, looked } = setUp([tenant('idle', 10)], { afterMs: 5 * MINUTE });
  hibernation.close();
  hibernation.tick();
  expect(looked).toEqual([]);
});
