import { StateMachine, type Transitions } from '@onewriter/tenants';

/** What the intake of a tenant does in Redis; see intake.ts. */
export type IntakeState = 'idle' | 'fetching' | 'listening' | 'reclaiming' | 'loading' | 'requeuing';

/** Each command ends before the next begins. */
const TRANSITIONS: Transitions<IntakeState> = {
  idle: ['fetching', 'listening', 'reclaiming', 'loading', 'requeuing'],
  fetching: ['idle'],
  listening: ['idle'],
  reclaiming: ['idle'],
  loading: ['idle'],
  requeuing: ['idle'],
};

/** Runs one command of a tenant at a time, so that its jobs arrive in their order. */
export class OneCommand {
  readonly #state: StateMachine<IntakeState>;
  readonly #onEnded: () => void;
  #begun = 0;

  /** @param onEnded called after each command, when the next may begin */
  constructor(tenant: string, onEnded: () => void) {
    this.#state = new StateMachine(`The intake of ${tenant}`, TRANSITIONS, 'idle');
    this.#onEnded = onEnded;
  }

  get isBusy(): boolean {
    return !this.#state.is('idle');
  }

  get isListening(): boolean {
    return this.#state.is('listening');
  }

  /** Commands begun: a higher number says that the one before is over. */
  get begun(): number {
    return this.#begun;
  }

  /** @throws AssertionError where another command is under way; what `command` throws */
  async run<Result>(state: Exclude<IntakeState, 'idle'>, command: () => Promise<Result>): Promise<Result> {
    this.#state.enter(state);
    this.#begun++;
    try {
      return await command();
    } finally {
      this.#state.enter('idle');
      this.#onEnded();
    }
  }
}
