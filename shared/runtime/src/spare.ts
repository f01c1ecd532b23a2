import { OnewriterError } from '@onewriter/protocol';

/*
 * Between `onewriter up` and a service with a spare process, over the IPC channel:
 *
 *   spare    ──spare──▶ up     it waits; all of its start is done that can be done beforehand
 *   up       ──take-over──▶ spare     the process before it has ended
 *   up       ──successor──▶ service   whether a spare waits, or is still to come
 */

/** Sent by a spare when it waits to take over. */
export interface SpareMessage {
  readonly type: 'spare';
}

/** Sent to a spare that is needed. */
export interface TakeOverMessage {
  readonly type: 'take-over';
}

/** Sent to a process that has a spare. */
export interface SuccessorMessage {
  readonly type: 'successor';
  /** Whether it waits; else it is on its way. */
  readonly waits: boolean;
}

/** Argument of a program that is to wait as a spare before it serves. */
export const SPARE_ARGUMENT = '--spare';

/** Whether this process is to wait as a spare. */
export function isSpare(): boolean {
  return process.argv.includes(SPARE_ARGUMENT);
}

/** There is nothing to drain. */
const end = () => process.exit(0);

/**
 * Has a spare end with its parent, also while it prepares: without Redis that takes for as long as Redis is away. To be called first.
 * @throws OnewriterError MISCONFIGURED where there is no parent that could say that this process is needed
 */
export function endWithParent(): void {
  if (process.send === undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `${SPARE_ARGUMENT} is for a process that \`onewriter up\` starts.`,
    );
  }
  if (!process.connected) end();
  process.once('disconnect', end);
}

/** Waits, after {@link endWithParent}, until the parent process says that this one is needed; then it lives on without its parent. */
export async function waitAsSpare(): Promise<void> {
  await new Promise<void>(resolve => {
    const onMessage = (message: unknown) => {
      if ((message as TakeOverMessage | null)?.type !== 'take-over') return;
      process.off('message', onMessage);
      resolve();
    };
    process.on('message', onMessage);
    process.send!({ type: 'spare' } satisfies SpareMessage);
  });
  process.off('disconnect', end);
}

/** What a process knows of the one that takes its place, by {@link SuccessorMessage}s. */
export class Successor {
  #coming = false;

  /** One that hears what the parent process says. */
  static ofParent(): Successor {
    const successor = new Successor();
    process.on('message', (message: unknown) => {
      if ((message as SuccessorMessage | null)?.type === 'successor') {
        successor.hear(message as SuccessorMessage);
      }
    });
    // Listening keeps the event loop alive; a drained process has to be able to end.
    process.channel?.unref();
    return successor;
  }

  /** One is on its way: it is worth waiting for. false: one waits, or none comes. */
  get coming(): boolean {
    return this.#coming;
  }

  hear({ waits }: SuccessorMessage): void {
    this.#coming = !waits;
  }
}
