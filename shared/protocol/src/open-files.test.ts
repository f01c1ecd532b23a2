import { closeSync, openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  boundConnections,
  chooseBrokerOpenFiles,
  chooseGatewayOpenFiles,
  chooseOpenReaders,
  DESCRIPTORS_PER_CONNECTION,
  isOutOfDescriptors,
  logsBeside,
  RESERVED_DESCRIPTORS,
  readDescriptorLimit,
  readProcessRoom,
} from './open-files.ts';

const GB = 1024 ** 3;
const DESCRIPTORS = [128, 256, 1_024, 4_096, 20_000, 1_048_576, Number.MAX_SAFE_INTEGER];
const MEMORY = [256 * 1024 ** 2, GB, 4 * GB, 64 * GB];
const rooms = DESCRIPTORS.flatMap(descriptors => MEMORY.map(memoryBytes => ({ descriptors, memoryBytes })));

/** Tenants of permanent and spare lanes. */
const tenantsOf = (threads: number, files: ReturnType<typeof chooseBrokerOpenFiles>) =>
  threads * (files.perLane + 2 * files.perSpareLane);

describe('a broker', () => {
  it.each([1, 2, 8])('with %i threads leaves the reserve free, spare lanes and logs included', threads => {
    for (const room of rooms.filter(({ descriptors }) => descriptors >= 256 * threads)) {
      const files = chooseBrokerOpenFiles(room, threads);
      const open = tenantsOf(threads, files) * DESCRIPTORS_PER_CONNECTION + files.logs;
      expect(open).toBeLessThanOrEqual(room.descriptors - RESERVED_DESCRIPTORS);
    }
  });

  it('takes a quarter of the memory where descriptors suffice', () => {
    const room = { descriptors: 1_048_576, memoryBytes: 4 * GB };
    const files = chooseBrokerOpenFiles(room, 2);
    expect(tenantsOf(2, files) * 400 * 1024).toBeLessThanOrEqual(GB);
    expect(tenantsOf(2, files) * 400 * 1024).toBeGreaterThan(0.8 * GB);
    // Each has its log open, too.
    expect(files.logs).toBe(tenantsOf(2, files));
  });

  it('keeps what a setting says', () => {
    expect(chooseBrokerOpenFiles({ descriptors: 256, memoryBytes: GB }, 2, 1_000).perLane).toBe(1_000);
  });

  it('keeps some open whatever the limits are', () => {
    expect(chooseBrokerOpenFiles({ descriptors: 32, memoryBytes: 1 }, 8)).toEqual({
      perLane: 4,
      perSpareLane: 1,
      logs: 4,
      descriptors: 0,
    });
  });

  it.each([1, 2, 8])(
    'with %i threads keeps the log of each open tenant while descriptors suffice',
    threads => {
      for (const room of rooms.filter(({ descriptors }) => descriptors >= 256 * threads)) {
        const files = chooseBrokerOpenFiles(room, threads);
        const most = tenantsOf(threads, files);
        for (const open of [0, 1, Math.floor(most / 2), most]) {
          const logs = logsBeside(files, open);
          const used = open * DESCRIPTORS_PER_CONNECTION + logs;
          expect(used).toBeLessThanOrEqual(room.descriptors - RESERVED_DESCRIPTORS);
          // One for each, or no descriptor is left.
          if (logs < Math.max(4, open)) expect(used).toBe(files.descriptors);
        }
      }
      const files = chooseBrokerOpenFiles({ descriptors: 20_000, memoryBytes: 24 * GB }, 2);
      expect(files.logs).toBeLessThan(1_600);
      expect(logsBeside(files, 4_000)).toBe(4_000);
    },
  );
});

describe('readers', () => {
  it('of an application leave most descriptors to it', () => {
    for (const room of rooms) {
      const open = chooseOpenReaders(room) * DESCRIPTORS_PER_CONNECTION;
      expect(open).toBeLessThanOrEqual(Math.max(12, room.descriptors / 4));
    }
    expect(chooseOpenReaders({ descriptors: 20_000, memoryBytes: 24 * GB })).toBeGreaterThan(1_500);
  });

  it('of a gateway leave descriptors for connections and the reserve', () => {
    for (const room of rooms.filter(({ descriptors }) => descriptors >= 256)) {
      const { quick, client, connections } = chooseGatewayOpenFiles(room);
      const open = (quick + client) * DESCRIPTORS_PER_CONNECTION + connections;
      expect(open).toBeLessThanOrEqual(room.descriptors - RESERVED_DESCRIPTORS);
      expect(connections).toBeGreaterThan(50);
    }
  });

  it('bound connections as before where there is room', () => {
    expect(boundConnections(20_000)).toBe(10_000);
  });
});

it('reads the limits of this process', () => {
  const { descriptors, memoryBytes } = readProcessRoom();
  expect(descriptors).toBeGreaterThan(0);
  expect(memoryBytes).toBeGreaterThan(0);
  expect(readDescriptorLimit(-1)).toBeUndefined();
});

describe('an error of SQLite that a file cannot be opened', () => {
  const cantOpen = Object.assign(new Error('unable to open database file'), { code: 'SQLITE_CANTOPEN' });

  it('is not for lack of descriptors where another file can be opened', () => {
    expect(isOutOfDescriptors(cantOpen)).toBe(false);
    expect(isOutOfDescriptors(Object.assign(new Error(), { code: 'SQLITE_BUSY' }))).toBe(false);
    expect(isOutOfDescriptors(Object.assign(new Error(), { code: 'EMFILE' }))).toBe(true);
  });

  it('is where this process may open no more', () => {
    const limit = readDescriptorLimit('self');
    // Filling a large table of files takes too long for a unit test; the end-to-end test has a small one.
    if (limit === undefined || limit > 70_000) return;
    const opened: number[] = [];
    try {
      for (;;) opened.push(openSync('/dev/null', 'r'));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('EMFILE');
      expect(isOutOfDescriptors(cantOpen)).toBe(true);
    } finally {
      for (const descriptor of opened) closeSync(descriptor);
    }
  });
});
