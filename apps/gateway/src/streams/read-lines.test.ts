import { setTimeout as pause } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { readChunks, readLines } from './read-lines.ts';

const BOUNDS = { maxLineBytes: 20, idleTimeoutMs: 1_000 };

function bodyOf(...chunks: (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: controller => {
      for (const chunk of chunks) controller.enqueue(Buffer.from(chunk as string));
      controller.close();
    },
  });
}

async function read(
  body: ReadableStream<Uint8Array> | null,
  bounds: Partial<Parameters<typeof readLines>[1]> = {},
) {
  const lines: string[] = [];
  for await (const line of readLines(body, { ...BOUNDS, ...bounds })) lines.push(line);
  return lines;
}

describe('readLines', () => {
  it('splits a body wherever its chunks end', async () => {
    const text = Buffer.from('one\r\n\ntwo ü\n  \nthree');
    for (const size of [1, 2, 5, 100]) {
      const chunks = [];
      for (let start = 0; start < text.length; start += size) chunks.push(text.subarray(start, start + size));
      expect(await read(bodyOf(...chunks))).toEqual(['one', 'two ü', 'three']);
    }
    expect(await read(null)).toEqual([]);
  });

  it('bounds a line, with an end or without', async () => {
    for (const text of [`${'x'.repeat(21)}\n`, 'x'.repeat(21)]) {
      await expect(read(bodyOf('a\n', text))).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    }
    expect(await read(bodyOf('x'.repeat(20)))).toHaveLength(1);
  });

  it('refuses what is not UTF-8', async () => {
    await expect(read(bodyOf(Buffer.of(0xff, 10)))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('gives up a silent sender, and cancels its body', async () => {
    let cancelled = false;
    const silent = new ReadableStream<Uint8Array>({
      cancel: () => {
        cancelled = true;
      },
    });
    await expect(read(silent, { idleTimeoutMs: 10 })).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect(cancelled).toBe(true);
  });

  it('gives up a slow sender, but not one that waits for its reader', async () => {
    const bounds = { idleTimeoutMs: 50, leastBytesPerS: 1_000 };
    const everyMs = (ms: number, text: string, count: number) =>
      new ReadableStream<Uint8Array>({
        async pull(controller) {
          await pause(ms);
          if (count-- > 0) controller.enqueue(Buffer.from(text));
          else controller.close();
        },
      });
    await expect(read(everyMs(10, 'a\n', 1_000), bounds)).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringContaining('1000 bytes'),
    });
    expect(await read(everyMs(10, 'a\n'.repeat(100), 12), bounds)).toHaveLength(1_200);
    let lines = 0;
    for await (const _ of readLines(bodyOf('a\n', 'b\n', 'c\n'), { ...BOUNDS, ...bounds })) {
      lines++;
      await pause(60);
    }
    expect(lines).toBe(3);
  });

  it('frees chunks that were read', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const megabyte = 1024 * 1024;
    let left = 64;
    const body = new ReadableStream<Uint8Array>({
      pull: controller => {
        if (left-- > 0) controller.enqueue(new Uint8Array(megabyte));
        else controller.close();
      },
    });
    const before = process.memoryUsage().arrayBuffers;
    let held = 0;
    const stop = new AbortController().signal;
    for await (const chunk of readChunks(body, { idleTimeoutMs: 10_000, stop })) {
      if (left > 0 || chunk.length === 0) continue;
      collect();
      held = process.memoryUsage().arrayBuffers - before;
    }
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThan(16 * megabyte);
  });

  it('stops at the stop signal, without half a line', async () => {
    const stop = new AbortController();
    const body = new ReadableStream<Uint8Array>({
      start: controller => controller.enqueue(Buffer.from('whole\nhal')),
    });
    const lines: string[] = [];
    for await (const line of readLines(body, { ...BOUNDS, stop: stop.signal })) {
      lines.push(line);
      stop.abort();
    }
    expect(lines).toEqual(['whole']);
  });
});
