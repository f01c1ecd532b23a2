import assert from 'node:assert/strict';

/** The states of a machine, each with the states that may follow it. */
export type Transitions<State extends string> = Readonly<Record<State, readonly State[]>>;

/**
 * @param what the thing that has the state, for the message
 * @throws AssertionError where `to` may not follow `from`; it names both
 */
export function assertTransition<State extends string>(
  transitions: Transitions<State>,
  what: string,
  from: State,
  to: State,
): void {
  if (!transitions[from].includes(to)) assert.fail(`${what} cannot go from "${from}" to "${to}".`);
}

/** A state whose changes are asserted, also in production: a broken assertion ends the process before it can do harm. */
export class StateMachine<State extends string> {
  readonly #what: string;
  readonly #transitions: Transitions<State>;
  #state: State;

  /** @param what the thing that has the state, for messages */
  constructor(what: string, transitions: Transitions<State>, first: State) {
    this.#what = what;
    this.#transitions = transitions;
    this.#state = first;
  }

  get state(): State {
    return this.#state;
  }

  is(state: State): boolean {
    return this.#state === state;
  }

  /** @throws AssertionError where the state may not follow */
  enter(state: State): void {
    assertTransition(this.#transitions, this.#what, this.#state, state);
    this.#state = state;
  }
}
