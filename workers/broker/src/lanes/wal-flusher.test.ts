import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { WalFlusher } from './wal-flusher.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-flush-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

function createWal(name: string) {
  const path = join(folder, name);
  writeFileSync(path, 'frames');
  const { dev, ino } = statSync(path);
  return { path, identity: `${dev}:${ino}` };
}

/** Files of the test's folder that this process has open. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd')
    .map(fd => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return ''; // the descriptor of the listing itself
      }
    })
    .filter(path => path.startsWith(folder));
}

const createFlusher = (maxOpen: number | (() => number)) => {
  const flusher = new WalFlusher(typeof maxOpen === 'number' ? () => maxOpen : maxOpen);
  onTestFinished(() => flusher.close());
  return flusher;
};

it('flushes many files at once and keeps at most its bound of descriptors', async () => {
  const flusher = createFlusher(4);
  const wals = Array.from({ length: 20 }, (_, index) => createWal(`${index}-wal`));
  await Promise.all([...wals, ...wals].map(wal => flusher.flush(wal)));
  await expect.poll(() => new Set(openFiles()).size).toBeLessThanOrEqual(4);
  flusher.close();
  await expect.poll(openFiles).toEqual([]);
});

it('keeps more or fewer as its bound moves', async () => {
  let bound = 20;
  const flusher = createFlusher(() => bound);
  const wals = Array.from({ length: 20 }, (_, index) => createWal(`${index}-wal`));
  await Promise.all(wals.map(wal => flusher.flush(wal)));
  expect(new Set(openFiles()).size).toBe(20);
  bound = 5;
  flusher.trim();
  // A descriptor is used again by any file, so their order says nothing.
  const names = () => openFiles().map(path => path.slice(folder.length + 1));
  await expect
    .poll(() => names().toSorted())
    .toEqual([...['15-wal', '16-wal', '17-wal', '18-wal', '19-wal']]);
});

it('refuses a file that is not the one that was written', async () => {
  const flusher = createFlusher(4);
  const wal = createWal('a-wal');
  await flusher.flush(wal);
  const other = createWal('b-wal');
  renameSync(other.path, wal.path);
  // The file that was written is still the open one, and what is in it is flushed.
  await flusher.flush(wal);
  await flusher.flush({ path: wal.path, identity: other.identity });
  await expect(flusher.flush(wal)).rejects.toThrow('not the file that was written');
  await expect(flusher.flush(createMissing())).rejects.toThrow('ENOENT');
  await expect.poll(() => openFiles().filter(path => path.includes('deleted'))).toEqual([]);
});

const createMissing = () => ({ path: join(folder, 'none-wal'), identity: '1:1' });

it('closes each descriptor once, whatever closes others while it is opened', async () => {
  let bound = 4;
  const flusher = createFlusher(() => bound);
  const wals = Array.from({ length: 8 }, (_, index) => createWal(`${index}-wal`));
  const guarded = join(folder, 'guarded');
  writeFileSync(guarded, '');
  const held = new Set<number>();
  const closeHeld = () => {
    for (const fd of held) closeSync(fd); // fails where something else has closed it
    held.clear();
  };
  for (let round = 0; round < 300; round++) {
    const flushes = wals.map(wal => flusher.flush(wal));
    bound = round % 4;
    for (let turn = 0; turn < 4; turn++) {
      await new Promise(resolve => setImmediate(resolve));
      flusher.trim();
      // Reuses numbers that were closed a moment ago.
      held.add(openSync(guarded, 'r'));
    }
    await Promise.all(flushes);
    for (const fd of held) expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(guarded);
    if (round % 10 === 9) closeHeld();
  }
  closeHeld();
});
