import { mkdirSync, realpathSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import {
  describeOpeners,
  type FileNote,
  findLastingOpeners,
  type JobOutcome,
  type NamedPart,
  nameParts,
  runOneJob,
  type SplitOff,
  type SplitOptions,
  type SplitPlan,
  type SplitTable,
  timeoutForBytes,
} from '@onewriter/files';
import { runSplit, summarizeMoves, TENANTS_UNIT } from '@onewriter/operations/files';
import { OnewriterError, type WireError } from '@onewriter/protocol';
import { EXIT } from '../exit-codes.ts';
import { parseJobs, parseTimeout } from '../jobs/job-options.ts';
import { readNames } from '../names-file.ts';
import { openRedis } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { audited, operatorName } from '../operator.ts';
import { createProgress } from '../progress.ts';
import { describeSplit, rowsOf } from '../split/describe-split.ts';
import { count } from '../table.ts';
import { assertMayFill, findTarget, placeOf, type Target } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter import --split-by`, as the command line gives them. */
export interface SplitCommandOptions {
  readonly splitBy?: string | undefined;
  readonly shared?: string | undefined;
  readonly via?: string | undefined;
  readonly leaveOut?: string | undefined;
  readonly leaveOutNull?: boolean | undefined;
  readonly names?: string | undefined;
  /** Without it nothing is changed. */
  readonly apply?: boolean | undefined;
  readonly jobs?: string | undefined;
  readonly timeout?: string | undefined;
  readonly offline?: boolean | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter import --split-by --json` prints. */
export interface SplitSummary {
  /** Absolute. */
  readonly source: string;
  readonly applied: boolean;
  readonly tables: readonly SplitTable[];
  readonly tenants: readonly {
    readonly name: string;
    readonly tenant: string | null;
    readonly state: NamedPart['state'];
    /** With those of shared tables. */
    readonly rows: number;
    /** About that many. */
    readonly bytes: number;
    readonly result: SplitOff | null;
    readonly error: WireError | null;
  }[];
  readonly notes: readonly FileNote[];
}

/** Options that have no effect on another import. */
export const SPLIT_ONLY = [
  ...(['shared', 'via', 'leaveOut', 'leaveOutNull', 'names', 'apply', 'jobs', 'timeout', 'offline'] as const),
] as const satisfies readonly (keyof SplitCommandOptions)[];
const OPTIONS: ReadonlySet<string> = new Set([...SPLIT_ONLY, 'splitBy', 'dataDir', 'json']);

/** `leaveOut` is `leave-out`. */
export function flagOf(option: string): string {
  return option.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
}

/** Makes a tenant of each value of a column, out of one file with all of them. @returns 3 where something is unclear, 1 where a tenant was not made */
export async function splitFile(path: string, options: SplitCommandOptions): Promise<number> {
  assertOptions(options);
  const target = findTarget(options.dataDir);
  const jobs = parseJobs(options.jobs);
  const givenMs = parseTimeout(options.timeout);
  const names = readNames(options.names);
  assertMayFill(target);
  if (!statSync(path, { throwIfNoEntry: false })?.isFile())
    throw new OnewriterError('NOT_FOUND', `There is no file ${resolve(path)}.`);
  const source = realpathSync(path);
  const rules: SplitOptions = {
    columns: listOf(options.splitBy),
    shared: listOf(options.shared),
    via: listOf(options.via),
    leaveOut: listOf(options.leaveOut),
    leaveOutNull: options.leaveOutNull === true,
  };
  const timeoutMs = () => givenMs ?? timeoutForBytes(statSync(source).size);
  const limits = { timeoutMs, memoryBytes: target.config.readMemoryBytes };
  const { plan, parts, notes } = await look(target, source, rules, names, limits, options.json);
  if (!options.json) process.stdout.write(describeSplit({ source, ...plan, tenants: parts, notes }));
  const isBlocked = notes.some(({ level }) => level === 'error');
  const outcomes =
    options.apply && !isBlocked
      ? await apply(target, { source, rules, plan, parts, jobs, limits }, options)
      : new Map<string, JobOutcome<SplitOff>>();
  const summary: SplitSummary = {
    ...{ source, applied: options.apply === true && !isBlocked, tables: plan.tables },
    tenants: parts.map(part => toSummary(part, plan.tables, outcomes)),
    notes,
  };
  if (options.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else if (isBlocked || !options.apply) process.stdout.write(nextStep(isBlocked));
  if (isBlocked) return options.apply ? EXIT.failed : EXIT.found;
  return summary.tenants.some(({ error }) => error !== null) ? EXIT.failed : EXIT.ok;
}

/** @throws UsageError */
function assertOptions(options: SplitCommandOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || OPTIONS.has(name)) continue;
    throw new UsageError(`--${flagOf(name)} is not for --split-by.`);
  }
  if (listOf(options.splitBy).length === 0) throw new UsageError('--split-by takes the name of a column.');
}

function listOf(text: string | undefined): string[] {
  return (
    text
      ?.split(',')
      .map(name => name.trim())
      .filter(Boolean) ?? []
  );
}

type Limits = Parameters<typeof runOneJob>[2]['limits'];

async function look(
  target: Target,
  source: string,
  options: SplitOptions,
  names: ReadonlyMap<string, string>,
  limits: Limits,
  json: boolean | undefined,
) {
  const progress = createProgress(json);
  const openers = (await findLastingOpeners([source])).of(source);
  try {
    const plan = await runOneJob<SplitPlan>(
      { place: placeOf(target), job: { kind: 'planSplit', source, options } },
      basename(source),
      {
        limits,
        priority: 'usual',
        onProgress: tables => progress.update(`${count(tables, 'table')} counted`),
      },
    );
    const { parts, notes } = nameParts(placeOf(target), plan, options, names);
    const open: FileNote[] =
      openers.length === 0
        ? []
        : [
            {
              ...{ level: 'error', check: 'open', found: `It is open in ${describeOpeners(openers)}.` },
              next: 'Stop it: what it writes from now on would be in no tenant.',
            },
          ];
    return { plan, parts, notes: [...open, ...plan.notes, ...notes] };
  } finally {
    progress.end();
  }
}

interface Split {
  readonly source: string;
  readonly rules: SplitOptions;
  readonly plan: SplitPlan;
  readonly parts: readonly NamedPart[];
  readonly jobs: number;
  readonly limits: Limits;
}

async function apply(
  target: Target,
  { source, rules, plan, parts, jobs, limits }: Split,
  { offline, json }: SplitCommandOptions,
): Promise<ReadonlyMap<string, JobOutcome<SplitOff>>> {
  const ready = new Map(
    parts.flatMap(part => (part.state === 'ready' ? [[part.tenant!, part] as const] : [])),
  );
  const tenants = [...ready.keys()];
  mkdirSync(target.dataDir, { recursive: true });
  // Without a known Redis nothing runs here.
  const redis = offline || target.redisUrl === undefined ? undefined : await openRedis(target);
  const shared = plan.tables.flatMap(({ rule, rows }, index) =>
    rule.kind === 'shared' ? [[index, rows] as const] : [],
  );
  const { stamp, hash, dangles } = plan;
  const outcomes = new Map<string, JobOutcome<SplitOff>>();
  const progress = createProgress(json);
  const onDone = (tenant: string, outcome: JobOutcome<SplitOff>) => {
    outcomes.set(tenant, outcome);
    progress.end();
    if (!json) report(tenant, outcome);
    progress.update(
      `${outcomes.size} of ${count(tenants.length, 'tenant')} made`,
      outcomes.size / tenants.length,
    );
  };
  try {
    await asOperation(
      target,
      { kind: 'import', tenants, detail: source, unit: TENANTS_UNIT },
      { summarize: summarizeMoves, json, offline: redis === undefined },
      context =>
        runSplit(
          context,
          { kind: 'split', source, options: rules, who: operatorName(), stamp, hash, dangles },
          {
            place: placeOf(target),
            tenants,
            processes: {
              ...{ jobs, limits, priority: 'usual' },
              bytesOf: tenant => ready.get(tenant)!.bytes,
              taskOf: tenant => ({ part: ready.get(tenant)!, shared }),
              redisUrl: redis === undefined ? undefined : target.redisUrl,
            },
            onDone,
          },
        ),
    );
    progress.end();
    if (redis !== undefined) {
      for (const [tenant, outcome] of outcomes)
        if ('result' in outcome)
          await audited(redis, target.group, 'tenant.import', tenant, async () => {}, source);
    }
    if (!json) process.stdout.write(closingWords(plan, parts, outcomes));
    return outcomes;
  } finally {
    progress.end();
    redis?.disconnect();
  }
}

function report(tenant: string, outcome: JobOutcome<SplitOff>): void {
  if ('error' in outcome) {
    process.stderr.write(
      `onewriter: ${tenant} was not made: ${outcome.error.code}: ${outcome.error.message}\n`,
    );
    return;
  }
  const { rows, file, warnings } = outcome.result;
  process.stdout.write(`${tenant}: ${count(rows, 'row')}, ${file}\n`);
  for (const warning of warnings) process.stdout.write(`warning: ${warning}\n`);
}

function closingWords(
  plan: SplitPlan,
  parts: readonly NamedPart[],
  outcomes: ReadonlyMap<string, JobOutcome<SplitOff>>,
): string {
  const made = [...outcomes.values()].filter(outcome => 'result' in outcome).length;
  const before = parts.filter(({ state }) => state === 'done').length;
  const left = parts.length - made - before;
  const words = [`${made} of ${count(parts.length, 'tenant')} made`];
  if (before > 0) words.push(`${before} were there from an earlier run`);
  if (left > 0) words.push(`${left} failed: run it again for the rest`);
  else
    words.push(
      `all ${plan.tables.reduce((sum, { rows, leftOut }) => sum + rows - leftOut, 0)} rows are there`,
    );
  return `${words.join('; ')}.\n`;
}

function nextStep(isBlocked: boolean): string {
  return isBlocked
    ? 'Nothing was changed.\n'
    : 'Nothing was changed. Stop what writes the file, and run the same command with --apply.\n';
}

function toSummary(
  part: NamedPart,
  tables: readonly SplitTable[],
  outcomes: ReadonlyMap<string, JobOutcome<SplitOff>>,
): SplitSummary['tenants'][number] {
  const { text, tenant, state, bytes } = part;
  const outcome = tenant === null ? undefined : outcomes.get(tenant);
  return {
    ...{ name: text, tenant, state, rows: rowsOf(part, tables), bytes },
    result: outcome !== undefined && 'result' in outcome ? outcome.result : null,
    error: outcome !== undefined && 'error' in outcome ? outcome.error : null,
  };
}
