import { expect, test } from 'vitest';
import { at } from '../../test-support/log-world.ts';
import { FileSweep, type SweptLine } from './file-sweep.ts';

class Line implements SweptLine {
  readonly tenant: string;
  pos = 7;
  isSettled = true;
  base: object | undefined;
  lacks = 0;
  renewals = 0;

  constructor(tenant: string) {
    this.tenant = tenant;
  }

  get settled() {
    if (!this.isSettled) return undefined;
    const { pos } = this;
    const numbers = { pageSize: 512, epoch: 1, lastSeq: 1, lastMs: 1, pages: 1 };
    return { pos, end: at('s1', 1), incarnation: '', ...numbers };
  }

  mayLack(): void {
    this.lacks++;
  }

  renew(): void {
    this.renewals++;
  }
}

function createSweep(count = 1) {
  const lines = new Map(Array.from({ length: count }, (_, index) => [`t${index}`, new Line(`t${index}`)]));
  let nowMs = 0;
  const read: string[] = [];
  const sizes = new Map<string, number>();
  let looks = 0;
  const sweep = new FileSweep<Line>(
    {
      sizeOf: tenant => sizes.get(tenant) ?? 0,
      isAsKnown: () => {
        looks++;
        return false;
      },
    },
    line => read.push(line.tenant),
    () => nowMs,
  );
  const later = (ms: number) => {
    nowMs += ms;
    sweep.look(lines);
    // The round ends.
    sweep.look(lines);
  };
  return { line: lines.get('t0')!, read, later, sizes, looks: () => looks };
}

test('a file that is another at two looks is read, once', () => {
  const { line, read, later } = createSweep();
  later(0);
  later(29_000);
  expect(read).toEqual([]);
  later(1_000);
  expect([read, line.lacks]).toEqual([['t0'], 1]);
  line.pos++;
  for (let round = 0; round < 3; round++) later(30_000);
  expect(line.lacks).toBe(1);
  // There was a commit since.
  line.pos++;
  for (let round = 0; round < 2; round++) later(30_000);
  expect(line.lacks).toBe(2);
});

test('a tenant whose commits come meanwhile, or that is being read, is not read for it', () => {
  const { line, read, later } = createSweep();
  for (let round = 0; round < 3; round++) {
    later(30_000);
    line.pos++;
  }
  line.isSettled = false;
  for (let round = 0; round < 3; round++) later(30_000);
  expect(read).toEqual([]);
});

test('a call looks at a part of many', () => {
  const { later, looks } = createSweep(1_000);
  later(0);
  expect(looks()).toBeLessThanOrEqual(400);
  for (let call = 0; call < 500 && looks() < 1_000; call++) later(0);
  expect(looks()).toBe(1_000);
});

test('a branch is read as soon as it has a file', () => {
  const { line, read, later, sizes } = createSweep();
  line.base = {};
  line.isSettled = false;
  for (let round = 0; round < 3; round++) later(30_000);
  expect(read).toEqual([]);
  sizes.set('t0', 4_096);
  later(30_000);
  expect([read, line.renewals, line.lacks]).toEqual([['t0'], 1, 0]);
});
