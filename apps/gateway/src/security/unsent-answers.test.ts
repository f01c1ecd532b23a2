import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { expect, it } from 'vitest';
import { UnsentAnswers } from './unsent-answers.ts';

const MIB = 1024 * 1024;
const ownerOf = (...names: string[]) => ({ names, isFleet: false });
const full = expect.objectContaining({ code: 'RATE_LIMITED' });

function respond(mib: number): ServerResponse {
  return Object.assign(new EventEmitter(), { writableLength: mib * MIB }) as unknown as ServerResponse;
}

it('refuses the owner of answers that wait, not others, until they are taken', () => {
  const answers = new UnsentAnswers();
  const mine = ownerOf('token a', 'tenant x');
  const response = respond(65);
  answers.add(mine, response);
  expect(() => answers.assertRoom(mine)).toThrow(full);
  expect(() => answers.assertRoom(ownerOf('token b', 'tenant x'))).toThrow(full);
  answers.assertRoom(ownerOf('token c', 'tenant y'));
  response.emit('close');
  answers.assertRoom(mine);
});

it('bounds all together', () => {
  const answers = new UnsentAnswers();
  for (const name of ['a', 'b', 'c', 'd']) answers.add(ownerOf(`token ${name}`), respond(64));
  answers.assertRoom(ownerOf('token e'));
  answers.add(ownerOf('token f'), respond(1));
  expect(() => answers.assertRoom(ownerOf('token e'))).toThrow(full);
});

it('counts what an answer that leaves in pieces holds', () => {
  const answers = new UnsentAnswers();
  const mine = ownerOf('token a');
  let held = 60 * MIB;
  answers.add(mine, respond(5), () => held);
  expect(() => answers.assertRoom(mine)).toThrow(full);
  held = 0;
  answers.assertRoom(mine);
});
