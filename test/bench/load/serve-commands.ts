import type { Command, Reply } from './load-messages.ts';

/** What a load process does for each command. */
export interface LoadHandlers {
  /** @returns what proves the durability, for the report */
  setUp(): Promise<string | undefined>;
  run(command: Extract<Command, { do: 'run' }>): Promise<Reply & { ok: true }>;
  close(): Promise<void>;
}

/** Answers the benchmark's commands one after the other, until it closes or is gone. */
export function serveCommands(handlers: LoadHandlers): void {
  let last: Promise<void> = Promise.resolve();
  process.on('message', (command: Command) => {
    last = last.then(async () => {
      process.send!(await answer(handlers, command));
    });
    if (command.do === 'close') void last.then(() => process.disconnect());
  });
  process.on('disconnect', () => process.exit(0));
}

async function answer(handlers: LoadHandlers, command: Command): Promise<Reply> {
  try {
    switch (command.do) {
      case 'set-up':
        return { ok: true, proof: await handlers.setUp() };
      case 'run':
        return await handlers.run(command);
      case 'close':
        await handlers.close();
        return { ok: true };
      default:
        throw new TypeError(`Unknown command ${JSON.stringify(command satisfies never)}.`);
    }
  } catch (error) {
    return { ok: false, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
