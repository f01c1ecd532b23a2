import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { OnewriterError, toWireError, type WireError } from '@onewriter/protocol';
import { UsageError } from '../usage-error.ts';
import type { JobAnswer, JobRequest, JobSettings } from './job-messages.ts';

/** How many processes work at a time, unless the command line says: more than four wait for one disk. */
const MAX_DEFAULT_JOBS = 4;
const MAX_JOBS = 64;
/** Kept of what a process prints on standard error. */
const MAX_STDERR_CHARACTERS = 2_000;
const ENTRY = fileURLToPath(new URL('./job-process.js', import.meta.url));

/** What came of one tenant. */
export type JobOutcome<T> = { readonly result: T } | { readonly error: WireError };

/** Reads `--jobs`. @throws UsageError */
export function parseJobs(text: string | undefined): number {
  if (text === undefined) return Math.min(MAX_DEFAULT_JOBS, availableParallelism());
  const jobs = Number(text);
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= MAX_JOBS) return jobs;
  throw new UsageError(`--jobs takes a number from 1 to ${MAX_JOBS}.`);
}

/**
 * Runs a job for each tenant, several at a time, each in a process of its own with one tenant at a time. A tenant whose
 * job ends its process has failed, and the others go on.
 *
 * @param entry what each process runs
 * @param onDone called once per tenant, in the order of `tenants`, as soon as all before it are done
 * @throws OnewriterError INTERNAL where a process does not start, or what `onDone` throws; all processes are ended then
 */
export async function runInProcesses<T>(
  settings: JobSettings,
  tenants: readonly string[],
  jobs: number,
  onDone: (tenant: string, outcome: JobOutcome<T>) => void,
  entry: string = ENTRY,
): Promise<void> {
  const outcomes = new Map<number, JobOutcome<T>>();
  let next = 0;
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
  const work = async () => {
    while (next < tenants.length) {
      await runProcess(
        entry,
        settings,
        running,
        () => (next < tenants.length ? { index: next, tenant: tenants[next++]! } : undefined),
        settle as (index: number, outcome: JobOutcome<unknown>) => void,
      );
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(jobs, tenants.length) }, work));
  } finally {
    for (const child of running) child.kill('SIGKILL');
  }
}

interface Job {
  readonly index: number;
  readonly tenant: string;
}

/** One process, until no tenant is left or it ends. @throws whatever `settle` throws */
function runProcess(
  entry: string,
  settings: JobSettings,
  running: Set<ChildProcess>,
  take: () => Job | undefined,
  settle: (index: number, outcome: JobOutcome<unknown>) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = fork(entry, [JSON.stringify(settings)], {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    running.add(child);
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-MAX_STDERR_CHARACTERS);
    });
    let job: Job | undefined;
    let answered = false;
    const advance = () => {
      job = take();
      // It waits for a message, so a signal ends it at once. After disconnect() here 'close' would not come.
      if (job === undefined) child.kill('SIGTERM');
      // A process that has ended says so by 'close'.
      else child.send({ tenant: job.tenant } satisfies JobRequest, () => {});
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
      const { index } = job!;
      job = undefined;
      answered = true;
      guard(() => {
        settle(index, 'error' in answer ? { error: answer.error } : { result: answer.result });
        advance();
      });
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      running.delete(child);
      const lost = job;
      if (lost === undefined) return resolve();
      const error = endedEarly(lost.tenant, signal ?? `code ${code}`, stderr);
      // A process that exits before its first answer would exit for each tenant.
      if (!answered && signal === null) return reject(error);
      guard(() => settle(lost.index, { error: toWireError(error) }));
      resolve();
    });
    advance();
  });
}

function endedEarly(tenant: string, how: string, stderr: string): OnewriterError {
  const said = stderr.trim().split('\n').at(-1) ?? '';
  return new OnewriterError(
    'INTERNAL',
    `The process that worked on tenant ${tenant} ended (${how}) before it was done${said === '' ? '' : `: ${said}`}.`,
    { tenant },
  );
}
