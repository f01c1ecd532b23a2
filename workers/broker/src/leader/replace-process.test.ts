import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { REPLACED_SIGNAL, runningDir } from '@onewriter/protocol';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { createWork, ModelLeader, never } from '../../test-support/leader-model.ts';
import { replaceProcess, type TooLate } from './replace-process.ts';

let leader: ModelLeader;
let runningNote: string;

beforeEach(() => {
  leader = new ModelLeader();
  mkdirSync(runningDir(leader.dataDir));
  runningNote = `${runningDir(leader.dataDir)}/1.0`;
  writeFileSync(runningNote, 'job');
  const kill = vi.spyOn(process, 'kill').mockImplementation((_, signal) => {
    leader.steps.push(`kill ${signal}`);
    return true;
  });
  onTestFinished(() => {
    kill.mockRestore();
    leader.close();
  });
});

function replace(note: () => Promise<unknown>, tooLate?: TooLate) {
  const stuck = leader.parts.sessions.find('stuck') ?? leader.open('stuck', { drain: () => never() });
  return replaceProcess({
    parts: leader.parts,
    stop: () => void leader.steps.push('stop'),
    works: [createWork(stuck)],
    note: () => {
      leader.steps.push('note');
      return note();
    },
    tooLate,
  });
}

it('notes the statement, hands over all other work, and ends the process', async () => {
  leader.open('other');
  await replace(async () => {});
  expect(leader.steps).toEqual([
    ...['note', 'stop', 'drain other', 'requeue other', 'requeue stuck', 'leave open set: other stuck'],
    ...['release the lease', `kill ${REPLACED_SIGNAL}`],
  ]);
  expect(existsSync(runningNote)).toBe(false);
});

it.each([
  ['fails', () => Promise.reject(new Error('no connection')), undefined],
  ['has no more time', () => never(), { toNote: Promise.resolve(), toHandOver: never() }],
])(
  'ends the process also where the note %s, and leaves what says which jobs ran',
  async (_, note, tooLate) => {
    await replace(note, tooLate);
    expect(leader.steps.slice(-1)).toEqual([`kill ${REPLACED_SIGNAL}`]);
    expect(existsSync(runningNote)).toBe(true);
    expect(leader.logged).toEqual(['Redis did not accept the note about the statement']);
  },
);

it('does not wait for work that runs apart, or that takes longer than there is time', async () => {
  const apart = leader.open('apart', { drain: () => never() });
  leader.apartWork = createWork(apart);
  await replace(async () => {});
  expect(leader.steps.slice(-2)).toEqual(['release the lease', `kill ${REPLACED_SIGNAL}`]);

  leader.open('slow', { drain: () => never() });
  leader.steps.length = 0;
  const startedAt = performance.now();
  await replace(async () => {}, { toNote: never(), toHandOver: Promise.resolve() });
  expect(performance.now() - startedAt).toBeLessThan(500);
  expect(leader.steps).toEqual(['note', 'stop', `kill ${REPLACED_SIGNAL}`]);
});

it('hands over beside a batch that takes long', async () => {
  leader.open('slow', { drain: () => never() });
  leader.open('other');
  await replace(async () => {});
  expect(leader.steps.slice(2)).toEqual([
    ...['drain other', 'requeue slow', 'requeue other', 'requeue stuck', 'leave open set: slow other stuck'],
    ...['release the lease', `kill ${REPLACED_SIGNAL}`],
  ]);
});

it('ends the process where handing over fails', async () => {
  leader.open('other', { requeue: () => Promise.reject(new Error('no connection')) });
  await replace(async () => {});
  expect(leader.steps.slice(-1)).toEqual([`kill ${REPLACED_SIGNAL}`]);
  expect(leader.logged).toEqual(['Handing over failed; the lease will expire']);
});

it('only notes the statement where the process ends anyway', async () => {
  leader.phase.end('fenced');
  await replace(async () => {});
  expect(leader.steps).toEqual(['end: fenced', 'note']);
});
