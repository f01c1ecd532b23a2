import { expect, it } from 'vitest';
import { assertTransition, StateMachine, type Transitions } from './state-machine.ts';

type Light = 'red' | 'green' | 'yellow';

const LIGHTS: Transitions<Light> = { red: ['green'], green: ['yellow'], yellow: ['red'] };

it('enters the states that may follow', () => {
  const light = new StateMachine('The light', LIGHTS, 'red');
  for (const state of ['green', 'yellow', 'red'] as const) {
    light.enter(state);
    expect([light.state, light.is(state)]).toEqual([state, true]);
  }
});

it('keeps its state where another may not follow, and names both', () => {
  const light = new StateMachine('The light', LIGHTS, 'red');
  expect(() => light.enter('yellow')).toThrow('The light cannot go from "red" to "yellow".');
  expect(light.state).toBe('red');
  expect(() => assertTransition(LIGHTS, 'The light', 'green', 'green')).toThrow('from "green" to "green"');
});
