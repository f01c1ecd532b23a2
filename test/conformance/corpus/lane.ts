import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { trackHandle } from '@onewriter/testkit';
import type { FileReport } from './file-report.ts';
import type { StackAddress } from './interfaces.ts';
import type { LaneNews, LaneOrder, LaneTask } from './lane-messages.ts';

const MAIN = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './dist/lane-main.js' : './lane-main.js', import.meta.url),
);

/** How lanes are started. */
export interface LaneOptions {
  readonly stack: StackAddress;
  /** Where lanes keep plain SQLite's files. */
  readonly folder: string;
  readonly limit: number;
  readonly pragmas: readonly string[];
  /** A lane that is at one statement for longer is killed. */
  readonly hungAfterMs: number;
}

/** A task that its lane did not survive. */
export class LaneEnded extends Error {
  /** The item it was at; undefined where it was at none. */
  readonly index: number | undefined;

  constructor(message: string, index: number | undefined) {
    super(message);
    this.index = index;
  }
}

/** A process that runs files of a corpus. */
export class Lane {
  readonly #child: ChildProcess;
  readonly #options: LaneOptions;
  readonly #untrack: () => void;
  #errors = '';
  #onNews: (news: LaneNews) => void = () => {};
  #onEnd: (reason: string) => void = () => {};
  #ended = false;

  private constructor(name: string, options: LaneOptions) {
    this.#options = options;
    this.#child = fork(MAIN, [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], serialization: 'advanced' });
    const folder = join(options.folder, name);
    mkdirSync(folder, { recursive: true });
    const { pid } = this.#child;
    this.#untrack = trackHandle({
      what: `process ${pid} (a lane)`,
      endNow: () => this.#child.kill('SIGKILL'),
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4_000);
    });
    this.#child.on('message', (news: LaneNews) => this.#onNews(news));
    this.#child.on('close', (code, signal) => {
      this.#ended = true;
      this.#untrack();
      this.#onEnd(`ended with ${signal ?? code}: ${this.#errors}`);
    });
    const { stack, limit, pragmas } = options;
    this.#send({ type: 'start', lane: name, stack, folder, limit, pragmas });
  }

  /** @param name no other lane's; ids of its tenants begin with it */
  static async start(name: string, options: LaneOptions): Promise<Lane> {
    const lane = new Lane(name, options);
    await lane.#wait<true>(news => (news.type === 'ready' ? true : undefined));
    return lane;
  }

  /** Runs a file. @throws LaneEnded; the lane is gone then */
  run(task: LaneTask): Promise<FileReport> {
    this.#send({ type: 'run', task });
    return this.#wait(news => (news.type === 'done' ? news.report : undefined));
  }

  /** Ends the process. Idempotent. */
  async close(): Promise<void> {
    if (this.#ended) return;
    const closed = new Promise<void>(resolve => this.#child.once('close', () => resolve()));
    this.#send({ type: 'end' });
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), this.#options.hungAfterMs);
    await closed;
    clearTimeout(kill);
  }

  #wait<T>(read: (news: LaneNews) => T | undefined): Promise<T> {
    let index: number | undefined;
    const kill = () => this.#child.kill('SIGKILL');
    let alarm = setTimeout(kill, this.#options.hungAfterMs);
    return new Promise<T>((resolve, reject) => {
      this.#onEnd = reason => reject(new LaneEnded(`A lane ${reason}`, index));
      if (this.#ended) this.#onEnd(`had ended: ${this.#errors}`);
      this.#onNews = news => {
        const result = read(news);
        if (result !== undefined) return resolve(result);
        if (news.type === 'item') index = news.index;
        clearTimeout(alarm);
        alarm = setTimeout(kill, this.#options.hungAfterMs);
      };
    }).finally(() => clearTimeout(alarm));
  }

  #send(order: LaneOrder): void {
    if (this.#child.connected) this.#child.send(order);
  }
}
