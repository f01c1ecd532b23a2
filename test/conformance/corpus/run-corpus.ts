import { rm } from 'node:fs/promises';
import { startStack, temporaryDirectory } from '@onewriter/testkit';
import type { FileReport } from './file-report.ts';
import type { InterfaceName } from './interfaces.ts';
import { Lane, LaneEnded, type LaneOptions } from './lane.ts';
import type { LaneTask } from './lane-messages.ts';
import { type CorpusFile, readCorpusFile } from './read-corpus.ts';

/** What {@link runCorpus} runs, and how. */
export interface RunCorpusOptions {
  readonly files: readonly CorpusFile[];
  readonly interfaces: readonly InterfaceName[];
  /** Statements of each file, at most. */
  readonly limit: number;
  /** Files at a time. */
  readonly lanes: number;
  /** Settings of plain SQLite besides the writer's. */
  readonly pragmas: readonly string[];
  readonly onReport: (report: FileReport) => void;
  /** One line about what is wrong with the run itself. */
  readonly onTrouble: (line: string) => void;
}

/** A statement is given up after this; the writer's own watchdog and the gateway's come first. */
const HUNG_AFTER_MS = 60_000;
/** Statements of one file that may end their process, one after the other. */
const MAX_LEFT_OUT = 10;

/** Files in none of the formats, and files that were given up. */
export interface CorpusRun {
  readonly unknownFiles: readonly string[];
  readonly givenUp: readonly string[];
}

/** Starts a Onewriter, and runs every file through every interface. */
export async function runCorpus(options: RunCorpusOptions): Promise<CorpusRun> {
  const unknownFiles: string[] = [];
  const tasks: LaneTask[] = [];
  // The long ones first, so that all lanes end at about the same time.
  for (const { path, name } of [...options.files].sort((a, b) => b.bytes - a.bytes)) {
    if (readCorpusFile(path) === undefined) unknownFiles.push(name);
    else for (const through of options.interfaces) tasks.push({ through, path, file: name, leftOut: [] });
  }
  await using folder = await temporaryDirectory('corpus');
  await using stack = await startStack({
    env: { ONEWRITER_MAX_OPEN_TENANTS: '64', ONEWRITER_LOG_LEVEL: 'warn', ONEWRITER_TOKEN_RATE_LIMIT: '0' },
  });
  const { gatewayUrl, redisUrl, dataDir, token } = stack;
  const { limit, pragmas } = options;
  const work = new Work(tasks, options, {
    stack: { gatewayUrl, redisUrl, dataDir, token },
    folder: folder.path,
    limit,
    pragmas,
    hungAfterMs: HUNG_AFTER_MS,
  });
  await Promise.all(Array.from({ length: Math.min(options.lanes, tasks.length) }, () => work.runLane()));
  await rm(folder.path, { recursive: true, force: true });
  return { unknownFiles, givenUp: work.givenUp };
}

class Work {
  readonly givenUp: string[] = [];
  readonly #tasks: LaneTask[];
  readonly #options: RunCorpusOptions;
  readonly #laneOptions: LaneOptions;
  #lanes = 0;

  constructor(tasks: LaneTask[], options: RunCorpusOptions, laneOptions: LaneOptions) {
    this.#tasks = tasks;
    this.#options = options;
    this.#laneOptions = laneOptions;
  }

  /** Runs tasks until there are no more. */
  async runLane(): Promise<void> {
    let lane: Lane | undefined;
    try {
      for (let task = this.#tasks.shift(); task !== undefined; task = this.#tasks.shift()) {
        lane ??= await Lane.start(`lane${++this.#lanes}`, this.#laneOptions);
        try {
          this.#options.onReport(await lane.run(task));
        } catch (error) {
          if (!(error instanceof LaneEnded)) throw error;
          lane = undefined;
          this.#afterEnd(task, error);
        }
      }
    } finally {
      await lane?.close();
    }
  }

  /** Runs the file again, without the statement that its lane was at. */
  #afterEnd(task: LaneTask, { index, message }: LaneEnded): void {
    this.#options.onTrouble(`${task.file} through ${task.through}, item ${index}: ${message}`);
    if (index === undefined || task.leftOut.length >= MAX_LEFT_OUT)
      this.givenUp.push(`${task.file} (${task.through})`);
    else this.#tasks.unshift({ ...task, leftOut: [...task.leftOut, index] });
  }
}
