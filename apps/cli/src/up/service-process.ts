import type { ChildProcess } from 'node:child_process';
import { REPLACED_SIGNAL } from '@onewriter/protocol';
import {
  type ReadyMessage,
  SPARE_ARGUMENT,
  type SpareMessage,
  type SuccessorMessage,
  type TakeOverMessage,
} from '@onewriter/runtime';
import { formatChildLine, type UpLog } from './log.ts';
import { type Service, servicePath } from './services.ts';
import { SupervisedProcess } from './supervised-process.ts';

/** Options of {@link ServiceProcess}. */
export interface ServiceProcessOptions {
  readonly service: Service;
  /** For log lines: brokers have several. */
  readonly name: string;
  /** To listen on; 0 is any free one. */
  readonly port: number;
  /** Whether another port will do if that one is taken: at the first start, of a broker at each. */
  readonly mayMove: boolean;
  /** All but the port. */
  readonly environment: NodeJS.ProcessEnv;
  /** Whether a second process waits to take its place. */
  readonly spare: boolean;
  /** From SIGTERM to SIGKILL. */
  readonly graceMs: number;
  /** After each start. */
  readonly onReady: () => void;
  /** Called when its port stays in use by another process: it is not started again. */
  readonly onGivenUp: (error: Error) => void;
  readonly log: UpLog;
  /** Writes a line of the child's, ready for people. */
  readonly writeLine: (text: string) => void;
  readonly colour: boolean;
}

const IN_USE = /EADDRINUSE/;
/** Longer than a process that is being replaced keeps its port. */
const GIVE_UP_AFTER_MS = 60_000;
const START_TIMEOUT_MS = 60_000;
/** A process that just took over first serves what waited for it; the start of a spare takes half a second of a processor. */
const SPARE_DELAY_MS = 500;

/** One supervised service, and where it listens. */
export class ServiceProcess {
  readonly service: Service;
  readonly #supervised: SupervisedProcess<number>;
  #port: number;
  #pid = 0;
  #served = false;

  constructor(options: ServiceProcessOptions) {
    const { service, name, environment, log, graceMs } = options;
    this.service = service;
    this.#port = options.port;
    const command = (...args: string[]) => ({
      file: process.execPath,
      args: [servicePath(service), ...args],
      env: { ...environment, [`ONEWRITER_${service.toUpperCase()}_PORT`]: String(this.#port) },
      ipc: true,
    });
    this.#supervised = new SupervisedProcess<number>({
      name,
      log,
      graceMs,
      startTimeoutMs: START_TIMEOUT_MS,
      replacedSignal: REPLACED_SIGNAL,
      command: failedOutput => {
        // Taken between the look and the start, or since it ended. Once a gateway or dashboard served, its port is in people's
        // settings and stays; a broker may move: without it nothing is written, and readers find its port in the run file.
        const mayMove = options.mayMove && (!this.#served || service === 'broker');
        if (mayMove && IN_USE.test(failedOutput)) this.#port = 0;
        return command();
      },
      whenReady: readReadyMessage,
      givesUp: {
        when: output => IN_USE.test(output),
        afterMs: GIVE_UP_AFTER_MS,
        onGivenUp: options.onGivenUp,
      },
      spare: options.spare
        ? {
            command: () => command(SPARE_ARGUMENT),
            whenWaiting: readSpareMessage,
            takeOver: child => send(child, { type: 'take-over' }),
            notify: (child, waits) => send(child, { type: 'successor', waits }),
            delayMs: SPARE_DELAY_MS,
          }
        : undefined,
      onReady: (port, pid) => {
        this.#served = true;
        this.#port = port;
        this.#pid = pid;
        options.onReady();
      },
      onLine: line => options.writeLine(formatChildLine(name, line, options.colour)),
    });
  }

  /** Where it listens; before it served, where it is to. */
  get port(): number {
    return this.#port;
  }

  /** Pid of the process that served last; 0 before. */
  get pid(): number {
    return this.#pid;
  }

  /** Resolves when it serves. @throws OnewriterError MISCONFIGURED */
  async start(): Promise<void> {
    await this.#supervised.start();
  }

  /** Drains it and keeps it ended. Idempotent. */
  stop(): Promise<void> {
    return this.#supervised.stop();
  }

  kill(): void {
    this.#supervised.kill();
  }
}

function send(child: ChildProcess, message: TakeOverMessage | SuccessorMessage): void {
  // If it has just ended, its exit event shows that.
  child.send(message, () => {});
}

/** Resolves to the port of the child's HTTP server when the child says that it serves. */
async function readReadyMessage(child: ChildProcess, signal: AbortSignal): Promise<number> {
  return (await readMessage<ReadyMessage>(child, 'ready', signal)).port;
}

/** Resolves when the child says that it waits to take over. */
async function readSpareMessage(child: ChildProcess, signal: AbortSignal): Promise<void> {
  await readMessage<SpareMessage>(child, 'spare', signal);
}

function readMessage<Message extends { readonly type: string }>(
  child: ChildProcess,
  type: Message['type'],
  signal: AbortSignal,
): Promise<Message> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      child.off('message', onMessage);
      reject(signal.reason);
    };
    const onMessage = (message: unknown) => {
      if ((message as { readonly type?: unknown } | null)?.type !== type) return;
      child.off('message', onMessage);
      signal.removeEventListener('abort', onAbort);
      resolve(message as Message);
    };
    child.on('message', onMessage);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
