import { isWithheld, withhold } from '@onewriter/writer';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { ModelLeader } from '../../test-support/leader-model.ts';
import type { Doorbell } from '../queue/doorbell.ts';
import { closeHeldTenant } from './close-held.ts';

let leader: ModelLeader;

beforeEach(() => {
  leader = new ModelLeader();
  onTestFinished(() => leader.close());
});

const doorbell = { wake: async () => void leader.steps.push('wake') } as unknown as Doorbell;
const close = (isForPerson = false) => closeHeldTenant(leader.parts, doorbell, 'acme', isForPerson);

it('finishes what was begun, requeues the rest, closes the file, and then leaves the open set', async () => {
  let fetched = () => {};
  leader.open('acme', {
    drain: async () => {
      leader.steps.push('drain acme');
      await new Promise<void>(resolve => (fetched = resolve));
      leader.steps.push('drained acme');
    },
  });
  const closing = close();
  await new Promise(setImmediate);
  // A fetch that waits for a notification ends.
  expect(leader.steps).toEqual(['drain acme', 'wake']);
  fetched();
  await closing;
  expect(leader.steps.slice(2)).toEqual([
    ...['drained acme', 'requeue acme', 'forget acme', 'stop waking acme', 'close file of acme'],
    'leave open set: acme',
  ]);
});

it('closes the file of a tenant without a session', async () => {
  await close();
  expect(leader.steps).toEqual(['stop waking acme', 'close file of acme']);
});

it('leaves the rest to the end of the process where that has begun', async () => {
  leader.open('acme', { drain: async () => leader.phase.end('fenced') });
  let isClosed = false;
  void close().then(() => (isClosed = true));
  await new Promise(setImmediate);
  expect(leader.steps).toEqual(['end: fenced', 'wake', 'requeue acme']);
  expect(isClosed).toBe(false);
});

it('lets a person, and no program, handle a file that was withheld', async () => {
  const path = `${leader.dataDir}/tenant.db`;
  withhold(leader.dataDir, 'acme', {
    path,
    entry: path,
    message: 'changed',
    since: new Date(0).toISOString(),
  });
  await close();
  expect(leader.steps).not.toContain('release acme');
  expect(isWithheld(leader.dataDir, 'acme')).toBe(true);
  await close(true);
  expect(leader.steps).toContain('release acme');
  expect(isWithheld(leader.dataDir, 'acme')).toBe(false);
});

it('parks on where nothing was withheld', async () => {
  leader.parkedCode = 'DATABASE_READONLY';
  await close(true);
  expect(leader.steps).toEqual(['stop waking acme', 'close file of acme']);
});
