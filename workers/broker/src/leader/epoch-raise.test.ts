import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { replicaSourceFile } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { describe, expect, it, onTestFinished } from 'vitest';
import { EpochRaise } from './epoch-raise.ts';
import type { Raised } from './lease.ts';

/** What was logged, by level. */
function createLog() {
  const levels: string[] = [];
  const at = (level: string) => () => void levels.push(level);
  const log = { info: at('info'), warn: at('warn'), error: at('error'), fatal: at('fatal') };
  return { log: log as unknown as Logger, levels };
}

/** A lease whose raises end with `raised`, and a record of what was asked of it. */
function createEpochs(raised: Raised, dataDir = '/data') {
  const { log, levels } = createLog();
  const asked: number[] = [];
  const reasons: string[] = [];
  const lease = {
    epoch: 5,
    held: true,
    contest: 'Broker a gives way to broker b.',
    async raise(above: number): Promise<Raised> {
      asked.push(above);
      await Promise.resolve();
      if (raised === 'raised') lease.epoch = above + 1;
      return raised;
    },
  };
  const epochs = new EpochRaise(lease, { end: reason => reasons.push(reason) }, dataDir, log);
  const fence = (tenant: string, fileEpoch: number) =>
    epochs.onFenced(tenant, { code: 'FENCED', message: '', details: { fileEpoch } });
  return { lease, asked, reasons, fence, levels };
}

/** Whether it is pending when all that was ready has run. */
async function isPending(promise: Promise<void>): Promise<boolean> {
  const later = new Promise<boolean>(resolve => setImmediate(resolve, true));
  return Promise.race([promise.then(() => false), later]);
}

describe('a file that has seen a newer epoch', () => {
  it('raises the epoch once for all tenants that are fenced at the same time', async () => {
    const { asked, reasons, fence, lease } = createEpochs('raised');
    await Promise.all([fence('acme', 9), fence('globex', 9)]);
    expect([asked, lease.epoch, reasons]).toEqual([[9], 10, []]);
  });

  it('warns of it, but not where all files came from another machine', async () => {
    const alarming = createEpochs('raised');
    await alarming.fence('acme', 9);
    expect(alarming.levels).toEqual(['warn']);
    const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-epoch-'));
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
    mkdirSync(join(dataDir, 'replica'));
    writeFileSync(replicaSourceFile(dataDir), JSON.stringify({ url: 's3://bucket', dataDirId: 'former' }));
    const restored = createEpochs('raised', dataDir);
    await restored.fence('acme', 9);
    expect(restored.levels).toEqual(['info']);
  });

  it('raises nothing where the epoch was raised above it meanwhile', async () => {
    const { asked, fence } = createEpochs('raised');
    await fence('acme', 4);
    expect(asked).toEqual([]);
  });

  it('asks where the lease is not held, however low its epoch', async () => {
    const { asked, lease, fence } = createEpochs('raised');
    lease.held = false;
    await fence('acme', 4);
    expect(asked).toEqual([4]);
  });

  it.each([
    ['overtaken', 'fenced by a newer broker'],
    ['contested', 'Broker a gives way to broker b.'],
  ] as const)('ends the lead where it is %s, and lets no work continue', async (raised, reason) => {
    const { reasons, fence } = createEpochs(raised);
    expect(await isPending(fence('acme', 9))).toBe(true);
    expect(reasons).toEqual([expect.stringContaining(reason)]);
  });
});
