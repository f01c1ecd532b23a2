import { expect, it } from 'vitest';
import { createLineSplitter } from './line-splitter.ts';

it('joins what arrives in pieces and keeps empty lines', () => {
  const lines: string[] = [];
  const splitter = createLineSplitter(line => lines.push(line));
  for (const piece of ['a', 'b\n\nc\r', '\nlast']) splitter.push(piece);
  expect(lines).toEqual(['ab', '', 'c']);
  splitter.end();
  splitter.end();
  expect(lines).toEqual(['ab', '', 'c', 'last']);
});

it('does not hold a line without an end', () => {
  const lines: string[] = [];
  const splitter = createLineSplitter(line => lines.push(line));
  splitter.push('x'.repeat(40_000));
  splitter.end();
  expect(lines.map(line => line.length)).toEqual([16_384, 16_384, 7_232]);
});
