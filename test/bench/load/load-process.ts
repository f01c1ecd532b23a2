import { type SpawnedProcess, spawnProcess } from '@onewriter/testkit';
import type { Command, LoadRun, Reply } from './load-messages.ts';

/** Making 10,000 tenants takes a while where others use the machine. */
const COMMAND_TIMEOUT_MS = 400_000;

const EXIT_TIMEOUT_MS = 5_000;

/** A load process, as the benchmark drives it. */
export interface LoadProcess {
  readonly pid: number;
  /** @returns the proof of durability, where there is something to prove */
  setUp(): Promise<string | undefined>;
  run(command: Omit<Extract<Command, { do: 'run' }>, 'do'>): Promise<LoadRun>;
  /** Ends it. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts a load process.
 * @param spec its first argument
 * @param execArgv options of Node
 */
export async function startLoadProcess(
  program: string,
  spec: unknown,
  execArgv: readonly string[] = [],
): Promise<LoadProcess> {
  const process_ = await spawnProcess(process.execPath, [...execArgv, program, JSON.stringify(spec)], {
    ipc: true,
  });
  let closing: Promise<void> | undefined;
  const close = async () => {
    const closed = await ask(process_, { do: 'close' }).catch(() => undefined); // it is ended in any case
    // It exits on its own, and then writes its profile.
    const late = new Promise(resolve => setTimeout(resolve, EXIT_TIMEOUT_MS).unref());
    if (closed) await Promise.race([process_.exited, late]);
    await process_.stop();
  };
  return {
    pid: process_.pid,
    setUp: async () => (await ask(process_, { do: 'set-up' })).proof,
    run: async command => {
      const { run } = await ask(process_, { do: 'run', ...command });
      if (run === undefined) throw new Error('The load process measured nothing.');
      return run;
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

async function ask(process_: SpawnedProcess, command: Command): Promise<Reply & { ok: true }> {
  const { child } = process_;
  let onMessage: ((message: unknown) => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    const reply = await new Promise<Reply>((resolve, reject) => {
      onMessage = message => resolve(message as Reply);
      child.once('message', onMessage);
      const gone = () => reject(new Error(`A load process ended:\n${process_.logs()}`));
      if (!child.connected) gone();
      else child.once('exit', gone);
      timer = setTimeout(
        () => reject(new Error(`A load process did not answer to ${command.do}:\n${process_.logs()}`)),
        COMMAND_TIMEOUT_MS,
      );
      child.send(command);
    });
    if (!reply.ok) throw new Error(`Load failed at ${command.do}: ${reply.error}`);
    return reply;
  } finally {
    clearTimeout(timer);
    if (onMessage) child.off('message', onMessage);
    child.removeAllListeners('exit');
  }
}
