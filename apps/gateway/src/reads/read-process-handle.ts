import { fromWireError, OnewriterError } from '@onewriter/protocol';
import {
  type BoundedProcess,
  endedOutOfMemory,
  setCpuPriority,
  startBoundedProcess,
} from '@onewriter/runtime';
import { processCpuMs } from '../bodies/thread-cpu.ts';
import { tooMuchMemory } from './read-errors.ts';
import type {
  EndMessage,
  FromReadProcess,
  ReadProcessSettings,
  ReadTask,
  StepsTask,
  ToReadProcess,
} from './read-messages.ts';

const ENTRY = new URL('./read-process.js', import.meta.url);

/** The caller that waits for a task. */
export interface TaskListener {
  onColumns(columns: readonly string[]): void;
  onRows(rows: Extract<FromReadProcess, { type: 'rows' }>['rows']): void;
  /** Where they come as JSON. */
  onJson?(json: Uint8Array): void;
  /** For steps. */
  onStep?(message: Extract<FromReadProcess, { type: 'step' | 'stepEnd' | 'stepError' }>): void;
  onEnd(end: EndMessage): void;
  /** Nothing comes after this. */
  onError(error: OnewriterError): void;
}

/** The gateway's end of one reading process. */
export class ReadProcessHandle {
  /** When its last task ended; monotonic, ms. */
  idleSince = performance.now();
  /** When its task began; monotonic, ms. */
  busySince = 0;
  isBackground = false;
  openFiles = 0;
  readonly #process: BoundedProcess;
  readonly #onFree: (handle: ReadProcessHandle) => void;
  readonly #onGone: (handle: ReadProcessHandle, stderr: string) => void;
  #ready = false;
  #gone = false;
  #task: ReadTask | StepsTask | undefined;
  /** Of this task, or the last one. */
  #owner: string | undefined;
  #listener: TaskListener | undefined;
  #killedWith: OnewriterError | undefined;
  #cpuMs: number | undefined;

  /**
   * @param onFree it can take a task
   * @param onGone it has ended
   */
  constructor(
    settings: ReadProcessSettings,
    memoryBytes: number,
    onFree: (handle: ReadProcessHandle) => void,
    onGone: (handle: ReadProcessHandle, stderr: string) => void,
  ) {
    this.#onFree = onFree;
    this.#onGone = onGone;
    this.#process = startBoundedProcess(ENTRY, {
      memoryBytes,
      stdout: 'ignore',
      args: [JSON.stringify(settings)],
    });
    const { child } = this.#process;
    child.on('message', message => this.#onMessage(message as FromReadProcess));
    child.on('error', () => {}); // 'close' follows, or sending failed because it has
    child.once('close', () => this.#onClose());
  }

  /** Whether it waits for a task. */
  get free(): boolean {
    return this.#ready && !this.#gone && this.#task === undefined && this.#killedWith === undefined;
  }

  /** Whether it has ever been able to take a task. */
  get wasReady(): boolean {
    return this.#ready;
  }

  /** Whose task it runs. */
  get tenant(): string | undefined {
    return this.#task?.tenant;
  }

  /** The token of several tenants that asked for it. */
  get owner(): string | undefined {
    return this.#task && this.#owner;
  }

  /** Begins a task; it must be free. */
  begin(task: ReadTask | StepsTask, listener: TaskListener, owner?: string | undefined): void {
    this.#task = task;
    this.#owner = owner;
    this.#listener = listener;
    this.busySince = performance.now();
    this.#send(task);
  }

  /** One chunk of a streamed task was taken. */
  more(): void {
    this.#send({ type: 'more' });
  }

  /** The rest of a streamed task is not wanted. */
  cancel(): void {
    this.#send({ type: 'cancel' });
  }

  /** The tenant's file is to be closed. */
  forget(tenant: string): void {
    this.#send({ type: 'forget', tenant });
  }

  /** A transaction that it keeps is over. */
  release(name: string): void {
    this.#send({ type: 'release', name });
  }

  /** CPU time that it has used, or had when it was last asked for; where the system does not say, what the clock says. */
  cpuMs(): number {
    const pid = this.#gone ? undefined : this.#process.child.pid;
    this.#cpuMs = (pid === undefined ? undefined : processCpuMs(pid)) ?? this.#cpuMs;
    return this.#cpuMs ?? performance.now();
  }

  /** From now on it runs while a CPU has nothing else to do. Idempotent. */
  makeBackground(): void {
    const { pid } = this.#process.child;
    if (this.isBackground || this.#gone || pid === undefined) return;
    this.isBackground = true;
    setCpuPriority(pid, 'background');
  }

  /** Ends it at once, whatever it does. Its task fails with `error`. */
  kill(error: OnewriterError): void {
    this.#killedWith = error;
    this.#process.child.kill('SIGKILL');
  }

  #send(message: ToReadProcess): void {
    // A process that has ended reports it by 'close'.
    if (this.#process.child.connected) this.#process.child.send(message, () => {});
  }

  #onMessage(message: FromReadProcess): void {
    switch (message.type) {
      case 'ready':
        this.#ready = true;
        this.#onFree(this);
        break;
      case 'columns':
        this.#listener?.onColumns(message.columns);
        break;
      case 'rows':
        this.#listener?.onRows(message.rows);
        break;
      case 'json':
        this.#listener?.onJson?.(message.json);
        break;
      case 'step':
      case 'stepEnd':
      case 'stepError':
        this.#listener?.onStep?.(message);
        break;
      case 'end':
      case 'error': {
        const listener = this.#listener;
        this.#task = undefined;
        this.#listener = undefined;
        this.openFiles = message.openFiles;
        this.idleSince = performance.now();
        // What it keeps now is known before it takes the next task.
        if (message.type === 'end') listener?.onEnd(message);
        else listener?.onError(fromWireError(message.error));
        if (this.free) this.#onFree(this);
        break;
      }
      default:
        message satisfies never;
    }
  }

  #onClose(): void {
    if (this.#gone) return;
    this.#gone = true;
    const stderr = this.#killedWith === undefined ? this.#process.stderr() : '';
    const task = this.#task;
    const listener = this.#listener;
    this.#task = undefined;
    this.#listener = undefined;
    this.#onGone(this, stderr);
    if (task === undefined) return;
    const error =
      this.#killedWith ??
      (endedOutOfMemory(stderr)
        ? tooMuchMemory(task.tenant)
        : new OnewriterError('INTERNAL', 'The reading process ended without an answer.', {
            tenant: task.tenant,
          }));
    listener?.onError(error);
  }
}
