import { defaultJobs, type JobLimits, jobLimits } from '@onewriter/files';
import { placeOf, type Target } from '../target.ts';
import { UsageError } from '../usage-error.ts';

const MAX_JOBS = 64;

/** Reads `--jobs`: how many processes work at a time. @throws UsageError */
export function parseJobs(text: string | undefined): number {
  if (text === undefined) return defaultJobs();
  const jobs = Number(text);
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= MAX_JOBS) return jobs;
  throw new UsageError(`--jobs takes a number from 1 to ${MAX_JOBS}.`);
}

/** Reads `--timeout`, in ms. @param seconds as it was given @throws UsageError */
export function parseTimeout(seconds: string | undefined): number | undefined {
  if (seconds === undefined) return undefined;
  const ms = Number(seconds) * 1_000;
  // Node's timers take no more.
  if (ms > 0 && ms < 2 ** 31) return ms;
  throw new UsageError('--timeout is a number of seconds above 0.');
}

/** What the job of a tenant may take. @param timeout `--timeout`; default: by the size of its file @throws UsageError */
export function limitsOf(target: Target, timeout: string | undefined): JobLimits {
  return jobLimits(placeOf(target), target.config.readMemoryBytes, parseTimeout(timeout));
}
