import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { lockPageOf, PageFile } from './page-file.ts';

const SIZE = 512;
const page = (fill: number) => Buffer.alloc(SIZE, fill);

function open(lockPage?: number) {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-pages-'));
  const path = join(folder, 'draft.db');
  const file = new PageFile(path, SIZE, lockPage);
  onTestFinished(() => {
    file.close();
    rmSync(folder, { recursive: true });
  });
  const write = (...pages: readonly (readonly [number: number, fill: number])[]) =>
    file.write(
      Uint32Array.from(pages, ([number]) => number),
      Buffer.concat(pages.map(([, fill]) => page(fill))),
    );
  return { file, path, write };
}

it('takes the last of each page, in one write or several', () => {
  const { file, path, write } = open();
  file.setSize(4);
  write([1, 1], [2, 2], [3, 3], [2, 7], [4, 4], [2, 8], [3, 9]);
  write([4, 5]);
  file.finish('acme');
  expect([...readFileSync(path)].filter((_, at) => at % SIZE === 0)).toEqual([1, 8, 9, 5]);
});

it('cuts what is beyond the size, and misses a page that did not come again', () => {
  const { file, path, write } = open();
  file.setSize(3);
  write([1, 1], [2, 2], [3, 3]);
  file.setSize(1);
  file.finish('acme');
  expect(statSync(path).size).toBe(SIZE);
  file.setSize(3);
  write([3, 4]);
  expect(() => file.finish('acme')).toThrow('Page 2 of 3');
});

it('wants no page of the lock byte, which stays empty', () => {
  const { file, path, write } = open(3);
  file.setSize(4);
  write([1, 1], [2, 2], [4, 4]);
  file.finish('acme');
  expect([...readFileSync(path)].filter((_, at) => at % SIZE === 0)).toEqual([1, 2, 0, 4]);
  expect([512, 4_096, 65_536].map(lockPageOf)).toEqual([2_097_153, 262_145, 16_385]);
});
