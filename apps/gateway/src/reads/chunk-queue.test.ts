import { OnewriterError, type SqlValue } from '@onewriter/protocol';
import { describe, expect, it, vi } from 'vitest';
import { ChunkQueue } from './chunk-queue.ts';

const chunk = (...values: SqlValue[]): SqlValue[][] => values.map(value => [value]);

describe('chunks of a streamed result', () => {
  it('arrive in order, those before the loop and those after, and each is acknowledged', async () => {
    const chunks = new ChunkQueue();
    chunks.onTaken = vi.fn();
    chunks.onLeft = vi.fn();
    chunks.push(chunk(1));
    chunks.push(chunk(2, 3));
    const seen: SqlValue[][][] = [];
    const reading = (async () => {
      for await (const next of chunks) {
        seen.push(next);
        if (seen.length === 2) chunks.push(chunk(4));
        if (seen.length === 3) chunks.end();
      }
    })();

    await reading;

    expect(seen).toEqual([chunk(1), chunk(2, 3), chunk(4)]);
    expect(chunks.onTaken).toHaveBeenCalledTimes(3);
    expect(chunks.onLeft).not.toHaveBeenCalled();
  });

  it('come before the error that ends them', async () => {
    const chunks = new ChunkQueue();
    chunks.onLeft = vi.fn();
    chunks.push(chunk(1));
    chunks.fail(new OnewriterError('READ_TIMEOUT', 'stopped'));
    const seen: SqlValue[][][] = [];

    await expect(async () => {
      for await (const next of chunks) seen.push(next);
    }).rejects.toMatchObject({ code: 'READ_TIMEOUT' });

    expect(seen).toEqual([chunk(1)]);
    expect(chunks.onLeft).not.toHaveBeenCalled();
  });

  it('wake a loop that waits for an error', async () => {
    const chunks = new ChunkQueue();
    const next = chunks[Symbol.asyncIterator]().next();
    chunks.fail(new OnewriterError('CLOSED', 'gone'));
    await expect(next).rejects.toMatchObject({ code: 'CLOSED' });
  });

  it('cancel the read where the loop is left', async () => {
    const chunks = new ChunkQueue();
    chunks.onLeft = vi.fn();
    chunks.push(chunk(1));
    for await (const _ of chunks) break;
    expect(chunks.onLeft).toHaveBeenCalledOnce();
  });
});
