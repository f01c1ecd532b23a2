import { OnewriterError } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { testEntry } from '../../test-support/test-entry.ts';
import { FullQueue, type ReadFull } from './full-queue.ts';

class Target {
  state = 'needs-full';
  readonly ended: string[] = [];
  readonly tenant: string;
  readonly bytes: number;

  constructor(tenant: string, bytes: number) {
    this.tenant = tenant;
    this.bytes = bytes;
  }

  get needsReading() {
    return this.state === 'needs-full';
  }
  beginReading() {
    this.state = 'reading';
    return 1;
  }
  endReading() {
    this.state = 'chained';
    this.ended.push('read');
    return true;
  }
  failReading(isGone: boolean) {
    this.state = isGone ? 'unknown' : 'needs-full';
    this.ended.push(isGone ? 'gone' : 'failed');
  }
}

let nowMs: number;
let targets: Map<string, Target>;
beforeEach(() => {
  nowMs = 0;
  targets = new Map();
});

function queue(readFull: ReadFull) {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const errors: string[] = [];
  const begun: boolean[] = [];
  const made = new FullQueue<Target>({
    readFull,
    sizeOf: tenant => targets.get(tenant)!.bytes,
    onBegin: () => begun.push(made.isReading),
    onDone: () => {},
    onError: tenant => errors.push(tenant),
    nowMs: () => nowMs,
    signal: stop.signal,
  });
  const add = (tenant: string, bytes: number) => {
    const target = new Target(tenant, bytes);
    targets.set(tenant, target);
    made.add(target);
    return target;
  };
  return { made, add, errors, begun };
}

const read = { entry: testEntry({ kind: 'full', min: 1, max: 1 }) };

test('reads one file at a time, small ones first', async () => {
  const order: string[] = [];
  let reading = 0;
  const { made, add, begun } = queue(async tenant => {
    order.push(tenant);
    expect(++reading).toBe(1);
    await new Promise(resolve => setImmediate(resolve));
    reading--;
    return read;
  });
  add('large', 900);
  add('small', 1);
  add('middle', 50);
  made.advance();
  made.advance();
  await waitFor(() => order.length === 3 && made.size === 0);
  expect(order).toEqual(['small', 'middle', 'large']);
  expect(begun).toEqual([true, true, true]);
});

test('a file that cannot be read is tried again after a while, and holds up no other', async () => {
  let fails = true;
  const { made, add, errors } = queue(async tenant => {
    if (tenant === 'bad' && fails) throw new OnewriterError('DATABASE_BUSY', 'The test says no.');
    return read;
  });
  const [bad, good] = [add('bad', 1), add('good', 2)];
  made.advance();
  await waitFor(() => good.state === 'chained');
  expect([bad.ended, errors]).toEqual([['failed'], ['bad']]);
  fails = false;
  made.advance();
  expect(bad.state).toBe('needs-full');
  nowMs += 6_000;
  made.advance();
  await waitFor(() => bad.state === 'chained');
});

test('a file that is gone, and a tenant that began again by other means, are forgotten', async () => {
  const { made, add } = queue(async () => {
    throw new OnewriterError('TENANT_NOT_FOUND', 'There is no such file.');
  });
  const [gone, other] = [add('gone', 1), add('other', 2)];
  other.state = 'chained';
  made.advance();
  await waitFor(() => gone.state === 'unknown');
  expect([made.size, other.ended]).toEqual([0, []]);
});
