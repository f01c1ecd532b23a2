import { expect, it } from 'vitest';
import { OneCommand } from './one-command.ts';

it('runs one command at a time, and refuses a second with the names of both', async () => {
  let ended = 0;
  const command = new OneCommand('acme', () => ended++);
  let finish: (result: number) => void = () => {};
  const running = command.run('listening', () => new Promise<number>(resolve => (finish = resolve)));
  expect([command.isBusy, command.isListening, command.begun]).toEqual([true, true, 1]);
  await expect(command.run('fetching', async () => 2)).rejects.toThrow(
    'The intake of acme cannot go from "listening" to "fetching".',
  );
  expect([command.begun, ended]).toEqual([1, 0]);
  finish(1);
  expect([await running, command.isBusy, ended]).toEqual([1, false, 1]);
});

it('may begin the next when one failed', async () => {
  let wasBusy: boolean | undefined;
  const command = new OneCommand('acme', () => {
    wasBusy = command.isBusy;
  });
  await expect(command.run('loading', () => Promise.reject(new Error('lost')))).rejects.toThrow('lost');
  expect(wasBusy).toBe(false);
  expect(await command.run('fetching', async () => 7)).toBe(7);
});
