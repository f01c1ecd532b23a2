import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { OnewriterError, tenantFile, toWireError, type WireError } from '@onewriter/protocol';
import { endedOutOfMemory, heapOption, withMemoryLimit } from '@onewriter/runtime';
import type { Target } from '../target.ts';
import { UsageError } from '../usage-error.ts';
import type { JobAnswer, JobRequest, JobSettings } from './job-messages.ts';

/** How many processes work at a time, unless the command line says: more than four wait for one disk. */
const MAX_DEFAULT_JOBS = 4;
const MAX_JOBS = 64;
/** A process has so many tenants at a time, and so much in their files: it need not wait for its parent between small ones. */
const MAX_AHEAD = 32;
const MAX_AHEAD_BYTES = 4 * 1024 * 1024;
/**
 * A process more is started for so much work: its start takes 0.35 s of CPU, a check of a tiny file 0.7 ms, and of a further MiB about
 * 10 ms.
 */
const WORK_PER_PROCESS = 400;
const WORK_PER_MIB = 15;
/** Kept of what a process prints on standard error. */
const MAX_STDERR_CHARACTERS = 2_000;
const ENTRY = fileURLToPath(new URL('./job-process.js', import.meta.url));

/** What a job may take: the schema of a tenant can make a check of its file as long and as large as it likes. */
export interface JobLimits {
  /** How long the job of a tenant may take, in ms; it is stopped then. */
  readonly timeoutMs: (tenant: string) => number;
  /** Memory of a process; an allocation beyond fails inside it. */
  readonly memoryBytes: number;
}

/** Result of one tenant. */
export type JobOutcome<T> = { readonly result: T } | { readonly error: WireError };

/** Reads `--jobs`. @throws UsageError */
export function parseJobs(text: string | undefined): number {
  if (text === undefined) return Math.min(MAX_DEFAULT_JOBS, availableParallelism());
  const jobs = Number(text);
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= MAX_JOBS) return jobs;
  throw new UsageError(`--jobs takes a number from 1 to ${MAX_JOBS}.`);
}

/** Settings of {@link runInProcesses}. */
export interface ProcessOptions {
  /** How many processes work at a time, at most. */
  readonly jobs: number;
  readonly limits: JobLimits;
  /** Size of a tenant's file, by which small ones share a process. Default: all are large. */
  readonly bytesOf?: ((tenant: string) => number) | undefined;
  /** What each process runs. */
  readonly entry?: string | undefined;
}

/** Sizes of tenants' files. */
export function fileSizes({ dataDir, dbFile }: Target): (tenant: string) => number {
  return tenant => statSync(tenantFile(dataDir, tenant, dbFile), { throwIfNoEntry: false })?.size ?? 0;
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
 * @throws OnewriterError INTERNAL where a process does not start, or what `onDone` throws; all processes are ended then
 */
export async function runInProcesses<T>(
  settings: JobSettings,
  tenants: readonly string[],
  options: ProcessOptions,
  onDone: (tenant: string, outcome: JobOutcome<T>) => void,
): Promise<void> {
  const { bytesOf = () => MAX_AHEAD_BYTES, entry = ENTRY } = options;
  const outcomes = new Map<number, JobOutcome<T>>();
  let next = 0;
  /** Tenants that a process which ended had not begun. */
  const returned: Job[] = [];
  let reported = 0;
  const running = new Set<ChildProcess>();
  const settle = (index: number, outcome: JobOutcome<T>) => {
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
    while (next < tenants.length || returned.length > 0) {
      const queue = { take, giveBack, settle: settle as JobQueue['settle'] };
      await runProcess(entry, settings, options.limits, running, queue);
    }
  };
  try {
    await Promise.all(Array.from({ length: chooseProcesses(tenants, options) }, work));
  } finally {
    for (const child of running) child.kill('SIGKILL');
  }
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
  entry: string,
  settings: JobSettings,
  { timeoutMs, memoryBytes }: JobLimits,
  running: Set<ChildProcess>,
  { take, giveBack, settle }: JobQueue,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { file, args } = withMemoryLimit(
      [process.execPath, heapOption(memoryBytes), entry, JSON.stringify(settings)],
      memoryBytes,
    );
    const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    running.add(child);
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-MAX_STDERR_CHARACTERS);
    });
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
        child.send({ tenant: job.tenant } satisfies JobRequest, () => {});
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
      const answer = message as JobAnswer;
      guard(() => {
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
      const lost = sent.shift();
      if (lost === undefined) return resolve();
      giveBack(sent);
      const error =
        stoppedAfterMs !== undefined
          ? tookTooLong(lost.tenant, stoppedAfterMs)
          : endedOutOfMemory(stderr)
            ? tookTooMuch(lost.tenant, memoryBytes)
            : endedEarly(lost.tenant, signal ?? `code ${code}`, stderr);
      // A process that exits before its first answer would exit for each tenant.
      if (!answered && signal === null && error.code === 'INTERNAL') return reject(error);
      guard(() => settle(lost.index, { error: toWireError(error) }));
      resolve();
    });
    advance();
  });
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
