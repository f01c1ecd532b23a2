import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { fromWireError, OnewriterError, toWireError, type WireError } from '@onewriter/protocol';
import { endedOutOfMemory, startBoundedProcess } from '@onewriter/runtime';
import type { SplitTask } from '../split/split-messages.ts';
import type { JobLimits } from './job-limits.ts';
import {
  JOB_REDIS_URL,
  type JobAnswer,
  type JobProgress,
  type JobRequest,
  type JobSettings,
} from './job-messages.ts';
import { cleanUpAfter } from './run-job.ts';

/** How many processes work at a time, unless a person says: more than four wait for one disk. */
const MAX_DEFAULT_JOBS = 4;
/** A process has so many tenants at a time, and so much in their files: it need not wait for its parent between small ones. */
const MAX_AHEAD = 32;
const MAX_AHEAD_BYTES = 4 * 1024 * 1024;
/**
 * A process more is started for so much work: its start takes 0.35 s of CPU, a check of a tiny file 0.7 ms, and of a further MiB about
 * 10 ms.
 */
const WORK_PER_PROCESS = 400;
const WORK_PER_MIB = 15;
/** How long killed processes may take to end. */
const MAX_END_MS = 5_000;
const ENTRY = new URL('./job-process.js', import.meta.url);
/** What a process of jobs has of its parent's environment: where it may put a file, and what its TLS trusts. */
const INHERITED = ['TMPDIR', 'NODE_EXTRA_CA_CERTS'];

/** Result of one tenant. */
export type JobOutcome<T> = { readonly result: T } | { readonly error: WireError };

/** How many processes work at a time, at most, where a person does not say. */
export function defaultJobs(): number {
  return Math.min(MAX_DEFAULT_JOBS, availableParallelism());
}

/** Settings of {@link runInProcesses}. */
export interface ProcessOptions {
  /** How many processes work at a time, at most. */
  readonly jobs: number;
  readonly limits: JobLimits;
  /** Size of a tenant's file, by which small ones share a process. Default: all are large. */
  readonly bytesOf?: ((tenant: string) => number) | undefined;
  /** The file outside the tenants' folders that a tenant's job is about. */
  readonly fileOf?: ((tenant: string) => string | undefined) | undefined;
  /** What a tenant gets, of a file that is split. */
  readonly taskOf?: ((tenant: string) => SplitTask) | undefined;
  /** The Redis that a job asks; default: none. */
  readonly redisUrl?: string | undefined;
  /** Variables that a job needs besides; secrets belong here, because other users can see arguments. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** `usual` for what a person started and waits for. Default: `low`. */
  readonly priority?: 'low' | 'usual' | undefined;
  /** Called by the jobs that say how far they are. */
  readonly onProgress?: ((tenant: string, progress: number) => void) | undefined;
  /** Stops all processes. */
  readonly signal?: AbortSignal | undefined;
  /** What each process runs. */
  readonly entry?: string | undefined;
}

/** How many processes suit the amount of work. */
export function chooseProcesses(tenants: readonly string[], { jobs, bytesOf }: ProcessOptions): number {
  const most = Math.min(jobs, tenants.length);
  if (bytesOf === undefined) return most;
  let work = 0;
  for (const tenant of tenants) {
    work += 1 + (bytesOf(tenant) / 2 ** 20) * WORK_PER_MIB;
    if (work >= most * WORK_PER_PROCESS) return most;
  }
  return Math.min(most, Math.ceil(work / WORK_PER_PROCESS));
}

/**
 * Runs a job for each tenant in processes of their own, each with one tenant after the other. A tenant whose job ends its
 * process, or takes more than it may, has failed; the others continue.
 *
 * @param onDone called once per tenant, in the order of `tenants`, as soon as all before it are done
 * @throws OnewriterError INTERNAL where a process does not start, ABORTED, or what `onDone` throws; all processes are ended then
 */
export async function runInProcesses<T>(
  settings: JobSettings,
  tenants: readonly string[],
  options: ProcessOptions,
  onDone: (tenant: string, outcome: JobOutcome<T>) => void,
): Promise<void> {
  const { bytesOf = () => MAX_AHEAD_BYTES, signal } = options;
  const outcomes = new Map<number, JobOutcome<T>>();
  let next = 0;
  /** Tenants that a process which ended had not begun. */
  const returned: Job[] = [];
  let reported = 0;
  /** It has failed, or all are done. */
  let isOver = false;
  const running = new Set<ChildProcess>();
  const settle = (index: number, outcome: JobOutcome<T>) => {
    if (isOver) return;
    outcomes.set(index, outcome);
    for (; ; reported++) {
      const ready = outcomes.get(reported);
      if (ready === undefined) return;
      outcomes.delete(reported);
      onDone(tenants[reported]!, ready);
    }
  };
  const take = (): Job | undefined => {
    const again = returned.shift();
    if (again !== undefined || next === tenants.length) return again;
    const tenant = tenants[next]!;
    return { index: next++, tenant, bytes: bytesOf(tenant) };
  };
  const giveBack = (jobs: readonly Job[]) => void returned.unshift(...jobs);
  const work = async () => {
    while (!isOver && (next < tenants.length || returned.length > 0)) {
      assertNotStopped(signal);
      const queue = { take, giveBack, settle: settle as JobQueue['settle'] };
      await runProcess(settings, options, running, queue);
    }
  };
  const killAll = () => {
    for (const child of running) child.kill('SIGKILL');
  };
  signal?.addEventListener('abort', killAll);
  const workers = Array.from({ length: chooseProcesses(tenants, options) }, work);
  try {
    await Promise.all(workers);
  } finally {
    isOver = true;
    signal?.removeEventListener('abort', killAll);
    killAll();
    // What they left is removed then. A process that the kernel cannot end would hold up the end of this one.
    await Promise.race([Promise.allSettled(workers), pause(MAX_END_MS, undefined, { ref: false })]);
  }
}

/**
 * Runs one job in a process of its own.
 * @throws OnewriterError as {@link runInProcesses}, and what the job throws
 */
export async function runOneJob<T>(
  settings: JobSettings,
  tenant: string,
  options: Omit<ProcessOptions, 'jobs' | 'onProgress'> & {
    readonly onProgress?: ((progress: number) => void) | undefined;
  },
): Promise<T> {
  let outcome: JobOutcome<T> | undefined;
  const onProgress = (_: string, progress: number) => options.onProgress?.(progress);
  await runInProcesses<T>(settings, [tenant], { ...options, onProgress, jobs: 1 }, (_, done) => {
    outcome = done;
  });
  if (outcome === undefined) throw new OnewriterError('INTERNAL', 'No process did the job.', { tenant });
  if ('error' in outcome) throw fromWireError(outcome.error);
  return outcome.result;
}

interface Job {
  readonly index: number;
  readonly tenant: string;
  readonly bytes: number;
}

/** The tenants that are left. */
interface JobQueue {
  readonly take: () => Job | undefined;
  readonly giveBack: (jobs: readonly Job[]) => void;
  readonly settle: (index: number, outcome: JobOutcome<unknown>) => void;
}

/** One process, until no tenant is left or it ends: then the first that it has not answered is lost. @throws whatever `settle` throws */
function runProcess(
  settings: JobSettings,
  options: ProcessOptions,
  running: Set<ChildProcess>,
  { take, giveBack, settle }: JobQueue,
): Promise<void> {
  const { limits, entry, fileOf, taskOf, redisUrl, env, priority, onProgress, signal: stop } = options;
  const { timeoutMs, memoryBytes } = limits;
  return new Promise((resolve, reject) => {
    const inherited = INHERITED.map(name => [name, process.env[name]]);
    const { child, stderr } = startBoundedProcess(entry === undefined ? ENTRY : pathToFileURL(entry), {
      memoryBytes,
      stdout: 'ignore',
      args: [JSON.stringify(settings)],
      env: { ...Object.fromEntries(inherited), ...env, [JOB_REDIS_URL]: redisUrl },
      priority,
    });
    running.add(child);
    /** What it has, the one that it is at first. */
    const sent: Job[] = [];
    let sentBytes = 0;
    let answered = false;
    let deadline: NodeJS.Timeout | undefined;
    let stoppedAfterMs: number | undefined;
    /** The time of a tenant begins when those sent before it are done. */
    const watch = (tenant: string) => {
      clearTimeout(deadline);
      const givenMs = timeoutMs(tenant);
      deadline = setTimeout(() => {
        stoppedAfterMs = givenMs;
        child.kill('SIGKILL');
      }, givenMs);
    };
    const advance = () => {
      while (sent.length === 0 || (sent.length < MAX_AHEAD && sentBytes < MAX_AHEAD_BYTES)) {
        const job = take();
        if (job === undefined) break;
        sent.push(job);
        sentBytes += job.bytes;
        // A process that has ended says so by 'close'.
        const { tenant } = job;
        const request: JobRequest = { tenant, file: fileOf?.(tenant), task: taskOf?.(tenant) };
        child.send(request, () => {});
      }
      // It waits for a message, so a signal ends it at once. After disconnect() here 'close' would not come.
      if (sent.length === 0) child.kill('SIGTERM');
      else watch(sent[0]!.tenant);
    };
    const guard = (step: () => void) => {
      try {
        step();
      } catch (error) {
        reject(error);
        child.kill('SIGKILL');
      }
    };
    child.on('message', message => {
      const answer = message as JobAnswer | JobProgress;
      guard(() => {
        if ('progress' in answer) {
          onProgress?.(answer.tenant, answer.progress);
          return;
        }
        const job = sent.shift();
        assert(job?.tenant === answer.tenant, 'A process of jobs answered out of turn.');
        clearTimeout(deadline);
        sentBytes -= job.bytes;
        answered = true;
        settle(job.index, 'error' in answer ? { error: answer.error } : { result: answer.result });
        advance();
      });
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      running.delete(child);
      clearTimeout(deadline);
      const begun = sent[0];
      if (begun !== undefined && child.pid !== undefined) {
        const { pid } = child;
        guard(() => cleanUpAfter(settings.job, begun.tenant, pid));
      }
      if (stop?.aborted) return guard(() => assertNotStopped(stop));
      const lost = sent.shift();
      if (lost === undefined) return resolve();
      giveBack(sent);
      const error =
        stoppedAfterMs !== undefined
          ? tookTooLong(lost.tenant, stoppedAfterMs)
          : endedOutOfMemory(stderr())
            ? tookTooMuch(lost.tenant, memoryBytes)
            : endedEarly(lost.tenant, signal ?? `code ${code}`, stderr());
      // A process that exits before its first answer would exit for each tenant.
      if (!answered && signal === null && error.code === 'INTERNAL') return reject(error);
      guard(() => settle(lost.index, { error: toWireError(error) }));
      resolve();
    });
    advance();
  });
}

/** @throws OnewriterError ABORTED */
function assertNotStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new OnewriterError('ABORTED', 'The work was stopped before it was done.');
}

function tookTooLong(tenant: string, ms: number): OnewriterError {
  const message =
    `The work on tenant ${tenant} took longer than ${Math.round(ms / 1_000)} s and was stopped. Its schema (views, checks, ` +
    'generated columns) may make it so long; --timeout <seconds> gives it more time.';
  return new OnewriterError('STATEMENT_TIMEOUT', message, { tenant });
}

function tookTooMuch(tenant: string, memoryBytes: number): OnewriterError {
  const message =
    `The work on tenant ${tenant} needs more than ${memoryBytes} bytes of memory. Its schema (checks, generated columns) ` +
    'may make large values; ONEWRITER_READ_MEMORY_BYTES is the limit.';
  return new OnewriterError('RESULT_TOO_LARGE', message, { tenant });
}

function endedEarly(tenant: string, how: string, stderr: string): OnewriterError {
  const said = stderr.trim().split('\n').at(-1) ?? '';
  return new OnewriterError(
    'INTERNAL',
    `The process that worked on tenant ${tenant} ended (${how}) before it was done${said === '' ? '' : `: ${said}`}.`,
    { tenant },
  );
}
