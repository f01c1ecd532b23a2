import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryDataDir } from '../../test-support/temporary-lane.ts';
import type { CapturedLog } from '../capture/capture-messages.ts';
import { CaptureSpool } from './capture-spool.ts';
import { readMessage, readRecords } from './spool-records.ts';

const PAGE = 512;
const FRAME = 24 + PAGE;
const MIB = 1024 * 1024;

function piece(order: bigint, frames = 2): CapturedLog {
  const bytes = Buffer.alloc(frames * FRAME, Number(order));
  const checksum = bytes.toString('hex', 0, 8);
  return {
    kind: 'log',
    ...{ order, tenant: 'acme', incarnation: 'a', pageSize: PAGE, urgent: false },
    before: { salts: '', frame: 0, checksum: '' },
    from: { salts: 'aa', frame: 0, checksum: '' },
    to: { salts: 'aa', frame: frames, checksum },
    commits: [{ frames, commitSeq: Number(order), atMs: 1, epoch: 1, pages: 1 }],
    frames: new Uint8Array(bytes).buffer,
  };
}

function open(maxBytes = 64 * MIB) {
  const folder = join(temporaryDataDir(), 'replica', 'spool', 'one');
  const failures: string[] = [];
  const spool = new CaptureSpool({ folder, maxBytes, onFailed: ({ message }) => failures.push(message) });
  const paths = () => readdirSync(folder).map(name => join(folder, name));
  const orders = () =>
    paths()
      .flatMap(path => readRecords(path).map(({ message }) => message.order))
      .sort((one, other) => Number(one - other));
  return { folder, spool, failures, paths, orders };
}

describe('a spool', () => {
  test('gives back what was written, for its owner alone', () => {
    const { spool, paths } = open();
    const messages = [piece(1n), piece(2n, 9)];
    for (const message of messages) spool.append(message);
    const [path] = paths();
    expect(readRecords(path!).map(readMessage)).toEqual(messages);
    expect(statSync(path!).mode & 0o777).toBe(0o600);
  });

  test('ends before a record that a killed process did not finish', () => {
    const { spool, paths } = open();
    for (const order of [1n, 2n]) spool.append(piece(order));
    const [path] = paths();
    const { size } = statSync(path!);
    for (const bytes of [size - 1, size - FRAME, size - 2 * FRAME - 10]) {
      truncateSync(path!, bytes);
      expect(readRecords(path!).map(({ message }) => message.order)).toEqual([1n]);
    }
  });

  test('believes no frames but those that were written', () => {
    const { spool, paths } = open();
    spool.append({ ...piece(1n), to: { salts: 'aa', frame: 2, checksum: 'ffffffffffffffff' } });
    expect(readRecords(paths()[0]!).map(readMessage)).toEqual([undefined]);
  });

  test('keeps nothing that is stored', () => {
    const { spool, orders, paths } = open();
    for (let order = 1n; order <= 24n; order++) spool.append(piece(order, 2_000));
    spool.cut(10n);
    spool.cut(10n);
    expect(orders()[0]).toBeLessThanOrEqual(11n);
    expect(orders()[0]).toBeGreaterThan(1n);
    expect(orders().at(-1)).toBe(24n);
    for (const done of [24n, 24n]) spool.cut(done);
    expect(paths()).toEqual([]);
    spool.append(piece(25n));
    expect(orders()).toEqual([25n]);
  });

  test('writes over what is stored, and shows none of it behind what is new', () => {
    const { spool, orders, paths } = open();
    for (const order of [1n, 2n, 3n]) spool.append(piece(order));
    spool.cut(3n);
    const [path] = paths();
    const { size } = statSync(path!);
    spool.append(piece(4n));
    expect(paths()).toEqual([path]);
    expect(statSync(path!).size).toBe(size);
    expect(orders()).toEqual([4n]);
    expect(readRecords(path!).map(readMessage)).toEqual([piece(4n)]);
  });

  test('shows no record that a killed process wrote only a part of, over one of the same length', () => {
    const { spool, orders, paths } = open();
    for (const order of [1n, 2n]) spool.append(piece(order));
    spool.cut(2n);
    const [path] = paths();
    const before = readFileSync(path!);
    spool.append(piece(3n));
    const after = readFileSync(path!);
    const bytes = before.length / 2;
    // With its first 8 bytes it is known to be another use of the file.
    for (let written = 8; written < bytes; written++) {
      writeFileSync(path!, Buffer.concat([after.subarray(0, written), before.subarray(written)]));
      expect(orders()).toEqual([]);
    }
  });

  test('keeps one file while nothing is stored, however often it is asked', () => {
    const { spool, orders, paths } = open();
    for (let order = 5n; order <= 9n; order++) {
      spool.append(piece(order));
      spool.cut(4n);
    }
    expect(paths()).toHaveLength(1);
    expect(orders()).toHaveLength(5);
  });

  test('gives up the oldest at its bound', () => {
    const { spool, orders, paths, failures } = open(20 * MIB);
    for (let order = 1n; order <= 40n; order++) spool.append(piece(order, 2_000));
    expect(orders().at(-1)).toBe(40n);
    const bytes = paths().reduce((sum, path) => sum + statSync(path).size, 0);
    expect(bytes).toBeLessThanOrEqual(20 * MIB);
    expect(bytes).toBeGreaterThan(8 * MIB);
    expect(failures).toEqual([]);
  });

  test('counts the whole of a file that it writes over', () => {
    const { spool, orders, paths } = open(20 * MIB);
    for (let order = 1n; order <= 5n; order++) spool.append(piece(order, 2_000));
    spool.cut(5n);
    for (const order of [6n, 7n]) spool.append(piece(order));
    // It has little that is of use, and is as long as before.
    spool.cut(6n);
    for (let order = 8n; order <= 30n; order++) {
      spool.append(piece(order, 2_000));
      expect(paths().reduce((sum, path) => sum + statSync(path).size, 0)).toBeLessThanOrEqual(20 * MIB);
    }
    expect(orders().at(-1)).toBe(30n);
  });

  test('leaves the folder above it to all who may read the data directory', () => {
    const { folder, spool } = open();
    const usual = join(folder, '../../../usual');
    mkdirSync(usual);
    spool.append(piece(1n));
    expect(statSync(join(folder, '../..')).mode).toBe(statSync(usual).mode);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
  });

  test('never throws where the disk fails, and begins again with the next request', () => {
    const { folder, spool, failures, orders } = open();
    mkdirSync(join(folder, '..'), { recursive: true });
    writeFileSync(folder, 'a file in the place of the folder');
    for (const order of [1n, 2n]) spool.append(piece(order));
    expect(failures).toHaveLength(1);
    rmSync(folder);
    spool.append(piece(3n));
    spool.cut(2n);
    spool.append(piece(4n));
    expect(orders()).toEqual([4n]);
    expect(failures).toHaveLength(1);
  });
});
