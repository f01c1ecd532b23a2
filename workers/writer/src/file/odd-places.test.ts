import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { refused, script, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';
import { FileWatch } from './file-watch.ts';

/* Things other than files where SQLite needs one: found before SQLite, or a read that never ends, meets them. */

const TABLE = script('CREATE TABLE t(a)');
const insert = () => writes('INSERT INTO t VALUES (1)');
const ELSEWHERE = 'of another tenant '.repeat(100);

const THINGS: Readonly<Record<string, (path: string) => void>> = {
  'a folder': path => mkdirSync(path),
  'a named pipe': path => execFileSync('mkfifo', [path]),
  'a socket': path =>
    execFileSync('python3', [
      '-c',
      'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
      path,
    ]),
  'a symbolic link': path => {
    writeFileSync(join(dirname(path), 'elsewhere'), ELSEWHERE);
    symlinkSync('elsewhere', path);
  },
  'a symbolic link to itself': path => symlinkSync(basename(path), path),
};

const PLACES = ['', '-wal', '-shm'].flatMap(suffix => Object.keys(THINGS).map(thing => [suffix, thing]));

function tenantWith(suffix: string, thing: string, closes: boolean): TemporaryLane {
  const lane = new TemporaryLane();
  lane.apply(TABLE);
  if (closes) lane.lane.run({ kind: 'close', tenant: 'acme' });
  const place = lane.file + suffix;
  if (existsSync(place)) renameSync(place, `${place}.away`);
  THINGS[thing]!(place);
  return lane;
}

const elsewhere = (lane: TemporaryLane) => join(dirname(lane.file), 'elsewhere');

describe.each(PLACES)('in the place of tenant.db%s: %s', (suffix, thing) => {
  it('is named, while the file is closed, and the tenant is written again without it', () => {
    const lane = tenantWith(suffix, thing, true);
    const { error } = refused(lane.run([insert()]));
    expect(error.code).toBe('TENANT_UNAVAILABLE');
    const named = `tenant.db${suffix} is ${thing.replace(' to itself', '')}`;
    expect(error.message).toMatch(suffix === '' ? /path is refused: (not a reg|symbolic)/ : named);
    rmSync(lane.file + suffix, { recursive: true });
    if (suffix === '') renameSync(`${lane.file}.away`, lane.file);
    lane.apply(insert());
    expect(lane.column('SELECT count(*) FROM t')).toEqual([1]);
  });

  it('is found, while the file is open, without harm to what it leads to', () => {
    const lane = tenantWith(suffix, thing, false);
    const first = lane.run([insert()]);
    // Without its name the index is of use still, and the commit is in the log.
    if (suffix === '-shm') expect(first.kind).toBe('applied');
    else expect(refused(first).error.code).toBe('TENANT_UNAVAILABLE');
    expect(refused(lane.run([insert()])).error.code).toBe('TENANT_UNAVAILABLE');
    if (thing === 'a symbolic link') expect(readFileSync(elsewhere(lane), 'utf8')).toBe(ELSEWHERE);
    lane.lane.close();
    if (suffix !== '-shm') return;
    rmSync(`${lane.file}-shm`, { recursive: true });
    lane.apply(insert());
    expect(lane.column('SELECT count(*) FROM t')).toEqual([2]);
  });
});

it('keeps the connection while it is unknown whether the files are in place, and continues when it is known', () => {
  const lane = new TemporaryLane();
  lane.apply(TABLE, insert());
  const denied = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES', syscall: 'stat' });
  const look = vi.spyOn(FileWatch.prototype, 'look').mockImplementation(() => {
    throw denied;
  });
  onTestFinished(() => look.mockRestore());
  const { error, uncertain } = refused(lane.run([insert()]));
  expect(error).toMatchObject({
    code: 'TENANT_UNAVAILABLE',
    message: expect.stringMatching(/EACCES.*do not end the broker/),
  });
  expect(uncertain).toBe(true);
  expect(lane.lane.run({ kind: 'close', tenant: null })).toMatchObject({ changed: [{ tenant: 'acme' }] });
  look.mockRestore();
  lane.apply(insert());
  expect(lane.column('SELECT count(*) FROM t')).toEqual([2]);
});
