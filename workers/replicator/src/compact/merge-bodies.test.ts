import { expect, test } from 'vitest';
import { testEntry } from '../../test-support/test-entry.ts';
import type { SegmentEntry } from '../format/entry.ts';
import { decodeBody, encodeBody } from '../format/segment-body.ts';
import { mergeBodies } from './merge-bodies.ts';

const PAGE_SIZE = 512;

/** A segment with pages that are filled with one byte each. */
async function segment(
  fields: Pick<SegmentEntry, 'kind' | 'min' | 'max' | 'pages' | 'writes'>,
  pages: Readonly<Record<number, number>>,
) {
  const entry = testEntry({
    ...fields,
    pageSize: PAGE_SIZE,
    firstSeq: fields.min + 100,
    lastSeq: fields.max + 100,
  });
  const sources = Object.entries(pages).map(([number, fill]) => ({
    number: Number(number),
    bytes: Buffer.alloc(PAGE_SIZE, fill),
  }));
  const commit = { pos: entry.max, commitSeq: entry.lastSeq, atMs: entry.lastMs, epoch: 1 };
  const commits = [{ ...commit, pages: entry.pages, frames: sources.length }];
  const header = { v: 1, tenant: entry.tenant, pageSize: PAGE_SIZE, commits } as const;
  return { entry, body: await decodeBody(await encodeBody(header, sources)) };
}

async function merge(...segments: readonly Awaited<ReturnType<typeof segment>>[]) {
  const { entry, body } = await mergeBodies(
    segments.map(each => each.entry),
    segments.map(each => each.body),
  );
  const { header, numbers, pages } = await decodeBody(body);
  return { entry, header, pages: [...numbers].map((number, at) => [number, pages[at * PAGE_SIZE]]) };
}

test('has the newest of each page in order, without those behind the end of the file', async () => {
  const merged = await merge(
    await segment({ kind: 'pages', min: 5, max: 6, pages: 9 }, { 9: 1, 2: 1, 1: 1 }),
    await segment({ kind: 'pages', min: 7, max: 9, pages: 3 }, { 3: 2, 1: 2 }),
  );
  expect(merged.pages).toEqual([
    [1, 2],
    [2, 1],
    [3, 2],
  ]);
  expect(merged.entry).toMatchObject({
    kind: 'pages',
    min: 5,
    max: 9,
    firstSeq: 105,
    lastSeq: 109,
    commits: 5,
  });
  expect(merged.entry).toMatchObject({ firstMs: 5_000, lastMs: 9_000, pages: 3, plainBytes: 3 * PAGE_SIZE });
  expect(merged.header.commits).toEqual([
    { pos: 9, commitSeq: 109, atMs: 9_000, epoch: 1, pages: 3, frames: 3 },
  ]);
});

test('knows who wrote all that is in it', async () => {
  const by = (who: string) => ({ writes: 2, kinds: 1, by: [[who, 2]] as const });
  const full = await segment({ kind: 'full', min: 4, max: 4, pages: 2, writes: by('c-1') }, { 1: 1, 2: 1 });
  const next = { kind: 'pages', min: 5, max: 5, pages: 3, writes: by('c-2') } as const;
  const { entry } = await merge(full, await segment(next, { 2: 2, 3: 2 }));
  expect(entry.writes).toMatchObject({ writes: 4, kinds: 1 });
  expect(entry.writes!.by.map(([who]) => who)).toEqual(['c-1', 'c-2']);
});

test('makes a full segment of one and what follows it', async () => {
  const { entry, pages } = await merge(
    await segment({ kind: 'full', min: 4, max: 4, pages: 2 }, { 1: 1, 2: 1 }),
    await segment({ kind: 'pages', min: 5, max: 5, pages: 3 }, { 2: 2, 3: 2 }),
  );
  expect(pages).toEqual([
    [1, 1],
    [2, 2],
    [3, 2],
  ]);
  expect(entry).toMatchObject({ kind: 'full', min: 5, max: 5, firstSeq: 105, lastSeq: 105, commits: 1 });
});
