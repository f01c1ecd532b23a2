import {
  type Adopted,
  type DataPlace,
  type Finding,
  type JobKind,
  type JobOutcome,
  type LoadReport,
  type LoadRequest,
  loadTenant,
  type ProcessOptions,
  type Released,
  type RestoreReport,
  type RestoreRequest,
  restoreTenant,
  runInProcesses,
  type SplitOff,
  type TakenBackup,
} from '@onewriter/files';
import type { WireError } from '@onewriter/protocol';
import { firstFitting } from './operation-store.ts';
import type { OperationContext, Summary } from './run-operation.ts';

/*
 * What the operations on files do, and what their records say at the end, wherever they are carried out.
 */

/** What `backup` and `check` count. */
export const TENANTS_UNIT = 'tenants';
/** What `restore` counts: the backup is checked, the file is in place. */
export const STEPS_UNIT = 'steps';
const RESTORE_STEPS = 2;

/** Result for one tenant. */
export interface TenantOutcome<T> {
  readonly tenant: string;
  readonly outcome: JobOutcome<T>;
}

/** A bounded part of what was found for each tenant: all of it, for thousands, is more than a record may hold. */
class Tally<T> {
  readonly #context: OperationContext;
  readonly #total: number;
  readonly #onDone: (tenant: string, outcome: JobOutcome<T>) => void;
  readonly outcomes: TenantOutcome<T>[] = [];

  constructor(
    context: OperationContext,
    total: number,
    onDone: (tenant: string, outcome: JobOutcome<T>) => void = () => {},
  ) {
    this.#context = context;
    this.#total = total;
    this.#onDone = onDone;
    context.progress(0, total);
  }

  readonly add = (tenant: string, outcome: JobOutcome<T>): void => {
    this.outcomes.push({ tenant, outcome });
    if ('error' in outcome) this.#context.log(`${tenant}: ${outcome.error.code} ${outcome.error.message}`);
    this.#context.progress(this.outcomes.length, this.#total);
    this.#onDone(tenant, outcome);
  };
}

/** Settings of {@link runBackups} and {@link runChecks}. */
export interface TenantsWork<T> {
  readonly place: DataPlace;
  readonly tenants: readonly string[];
  readonly processes: Omit<ProcessOptions, 'signal'>;
  /** Called once per tenant, in their order. */
  readonly onDone?: ((tenant: string, outcome: JobOutcome<T>) => void) | undefined;
}

async function runJobs<T>(
  context: OperationContext,
  job: JobKind,
  { place, tenants, processes, onDone }: TenantsWork<T>,
): Promise<readonly TenantOutcome<T>[]> {
  const tally = new Tally<T>(context, tenants.length, onDone);
  await runInProcesses<T>({ place, job }, tenants, { ...processes, signal: context.signal }, tally.add);
  return tally.outcomes;
}

/** Backs up tenants. @throws OnewriterError ABORTED; what {@link runInProcesses} throws */
export function runBackups(
  context: OperationContext,
  job: Extract<JobKind, { kind: 'backup' }>,
  work: TenantsWork<TakenBackup>,
): Promise<readonly TenantOutcome<TakenBackup>[]> {
  return runJobs(context, job, work);
}

/** Checks tenants. @throws OnewriterError ABORTED; what {@link runInProcesses} throws */
export function runChecks(
  context: OperationContext,
  job: Extract<JobKind, { kind: 'check' }>,
  work: TenantsWork<Finding[]>,
): Promise<readonly TenantOutcome<Finding[]>[]> {
  return runJobs(context, job, work);
}

/** Makes files tenants'. @throws OnewriterError ABORTED; what {@link runInProcesses} throws */
export function runAdoptions(
  context: OperationContext,
  job: Extract<JobKind, { kind: 'adopt' }>,
  work: TenantsWork<Adopted>,
): Promise<readonly TenantOutcome<Adopted>[]> {
  return runJobs(context, job, work);
}

/** Makes tenants out of one file with all of them. @throws OnewriterError ABORTED; what {@link runInProcesses} throws */
export function runSplit(
  context: OperationContext,
  job: Extract<JobKind, { kind: 'split' }>,
  work: TenantsWork<SplitOff>,
): Promise<readonly TenantOutcome<SplitOff>[]> {
  return runJobs(context, job, work);
}

/** Gives tenants' files back. @throws OnewriterError ABORTED; what {@link runInProcesses} throws */
export function runReleases(
  context: OperationContext,
  job: Extract<JobKind, { kind: 'release' }>,
  work: TenantsWork<Released>,
): Promise<readonly TenantOutcome<Released>[]> {
  return runJobs(context, job, work);
}

/** Restores a backup. @throws OnewriterError as {@link restoreTenant} */
export async function runRestore(
  context: OperationContext,
  place: DataPlace,
  request: RestoreRequest,
): Promise<RestoreReport> {
  context.progress(0, RESTORE_STEPS);
  const { signal, onChecked } = request;
  const report = await restoreTenant(place, {
    ...request,
    signal: signal === undefined ? context.signal : AbortSignal.any([signal, context.signal]),
    onChecked: () => {
      context.progress(1);
      context.log('The backup is sound.');
      onChecked?.();
    },
  });
  context.progress(RESTORE_STEPS);
  for (const warning of report.warnings) context.log(`warning: ${warning}`);
  return report;
}

/** What the load of a dump or a database counts. */
export const BYTES_UNIT = 'bytes';

/** Loads a dump or a database. @param bytes of the file @throws OnewriterError as {@link loadTenant} */
export async function runLoad(
  context: Pick<OperationContext, 'progress' | 'log'>,
  place: DataPlace,
  bytes: number,
  request: LoadRequest,
): Promise<LoadReport> {
  context.progress(0, bytes);
  const report = await loadTenant(place, {
    ...request,
    onProgress: done => {
      context.progress(done);
      request.onProgress?.(done);
    },
    onChecked: () => {
      context.log('It is loaded and checked.');
      request.onChecked?.();
    },
  });
  for (const warning of report.warnings) context.log(`warning: ${warning}`);
  return report;
}

/** What a record says of a load. */
export function summarizeLoad(report: LoadReport): Summary {
  return { result: { ...report, warnings: firstFitting(report.warnings) } };
}

/** What a record says of backups. */
export function summarizeBackups(outcomes: readonly TenantOutcome<TakenBackup>[]): Summary {
  const failed = outcomes.filter(({ outcome }) => 'error' in outcome).length;
  const backups = outcomes.flatMap(({ tenant, outcome }) => {
    if ('error' in outcome) return [];
    const { file, bytes, commitSeq } = outcome.result.manifest;
    return [{ tenant, file, bytes, commitSeq }];
  });
  const bytes = backups.reduce((sum, backup) => sum + backup.bytes, 0);
  const result = { tenants: outcomes.length, failed, bytes, backups: firstFitting(backups) };
  return { result, error: errorOf(outcomes, failed) };
}

/** What a record says of adoptions, releases and splits. */
export function summarizeMoves(outcomes: readonly TenantOutcome<Adopted | Released | SplitOff>[]): Summary {
  const failed = outcomes.filter(({ outcome }) => 'error' in outcome).length;
  const moves = outcomes.flatMap(({ tenant, outcome }) => {
    if ('error' in outcome) return [];
    const { file, bytes } = outcome.result;
    return [{ tenant, file, bytes }];
  });
  const bytes = moves.reduce((sum, move) => sum + move.bytes, 0);
  const result = { tenants: outcomes.length, failed, bytes, files: firstFitting(moves) };
  return { result, error: errorOf(outcomes, failed) };
}

/** What a record says of checks: findings are a result, and no failure. */
export function summarizeChecks(outcomes: readonly TenantOutcome<Finding[]>[]): Summary {
  const failed = outcomes.filter(({ outcome }) => 'error' in outcome).length;
  const findings = outcomes.flatMap(({ outcome }) => ('error' in outcome ? [] : outcome.result));
  const count = (level: Finding['level']) => findings.filter(finding => finding.level === level).length;
  // Errors first: these must not be cut off.
  const sorted = findings.toSorted(
    (one, other) => Number(other.level === 'error') - Number(one.level === 'error'),
  );
  const result = {
    tenants: outcomes.length,
    failed,
    errors: count('error'),
    warnings: count('warning'),
    findings: firstFitting(sorted),
  };
  return { result, error: errorOf(outcomes, failed) };
}

/** What a record says of a restore. */
export function summarizeRestore(report: RestoreReport): Summary {
  return { result: { ...report, warnings: firstFitting(report.warnings) } };
}

function errorOf(outcomes: readonly TenantOutcome<unknown>[], failed: number): WireError | undefined {
  const first = outcomes.find(({ outcome }) => 'error' in outcome);
  if (first === undefined || !('error' in first.outcome)) return undefined;
  const { code, message } = first.outcome.error;
  return { code, message: failed === 1 ? message : `${failed} tenants failed, the first: ${message}` };
}
