import { existsSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  type Adopted,
  type Candidate,
  type FileLook,
  findLastingOpeners,
  findLayout,
  isBelow,
  type JobOutcome,
  nameCandidates,
  type Openers,
  type PlannedFile,
  parsePattern,
  planFile,
  runInProcesses,
  type TreeEntry,
  type TreePattern,
  timeoutForBytes,
  walkTree,
} from '@onewriter/files';
import { runAdoptions, summarizeMoves, TENANTS_UNIT } from '@onewriter/operations/files';
import { OnewriterError, shownText, tenantsDir, type WireError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { describePlan } from '../adopt/describe-plan.ts';
import { EXIT } from '../exit-codes.ts';
import { parseJobs, parseTimeout } from '../jobs/job-options.ts';
import { readNames } from '../names-file.ts';
import { openRedis } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { audited, operatorName } from '../operator.ts';
import { printError } from '../print-error.ts';
import { createProgress } from '../progress.ts';
import { assertMayFill, findTarget, placeOf, type Target } from '../target.ts';

/** Options of `onewriter adopt`, as the command line gives them. */
export interface AdoptOptions {
  readonly dataDir?: string | undefined;
  /** Where the files lie below the folder. */
  readonly pattern?: string | undefined;
  /** File of JSON with ids of tenants, by their names in the tree. */
  readonly names?: string | undefined;
  readonly apply?: boolean | undefined;
  /** How many files at a time. */
  readonly jobs?: string | undefined;
  /** Seconds for each file. */
  readonly timeout?: string | undefined;
  /** Redis is not asked: no broker runs. */
  readonly offline?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter adopt --json` prints. */
export interface AdoptSummary {
  /** Absolute. */
  readonly folder: string;
  readonly dataDir: string;
  readonly pattern: string;
  readonly applied: boolean;
  /** Each file as it was before. */
  readonly files: readonly (PlannedFile & {
    readonly result: Adopted | null;
    readonly error: WireError | null;
  })[];
  /** Processes that this user may not look into: they may have files open. */
  readonly hiddenProcesses: number;
}

/** Where the files are, and how they lie. */
interface Tree {
  readonly root: string;
  readonly pattern: TreePattern;
  readonly entries: readonly TreeEntry[];
}

/** Looks at a tree of files, and makes them tenants'. @returns 3 where a file cannot be adopted, 1 where one was not */
export async function adopt(folder: string, options: AdoptOptions): Promise<number> {
  const target = findTarget(options.dataDir);
  const jobs = parseJobs(options.jobs);
  const givenMs = parseTimeout(options.timeout);
  const names = readNames(options.names);
  assertMayFill(target);
  const tree = findTree(target, folder, options.pattern);
  const candidates = nameCandidates(tree.entries, tree.pattern, names);
  const openers = await findLastingOpeners(candidates.map(({ path }) => path));
  const processes = {
    jobs,
    limits: {
      timeoutMs: (path: string) => givenMs ?? timeoutForBytes(sizeOf(path)),
      memoryBytes: target.config.readMemoryBytes,
    },
    bytesOf: sizeOf,
    priority: 'usual',
  } as const;
  const files = await lookAt(target, candidates, openers, processes, options.json);
  const text = describePlan(tree.root, tree.pattern.text, files, {
    apply: options.apply === true,
    hiddenProcesses: openers.hidden,
    command: commandOf(folder, tree.pattern.text, options),
  });
  if (!options.json) process.stdout.write(text);
  const outcomes = options.apply ? await apply(target, tree, files, processes, options) : new Map();
  const summary: AdoptSummary = {
    folder: tree.root,
    dataDir: target.dataDir,
    pattern: tree.pattern.text,
    applied: options.apply === true,
    files: files.map(file => {
      const outcome: JobOutcome<Adopted> | undefined = outcomes.get(file.tenant ?? '');
      const result = outcome !== undefined && 'result' in outcome ? outcome.result : null;
      return { ...file, result, error: outcome !== undefined && 'error' in outcome ? outcome.error : null };
    }),
    hiddenProcesses: openers.hidden,
  };
  if (options.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  const isBlocked = files.some(({ state }) => state === 'blocked');
  if (!options.apply) return isBlocked ? EXIT.found : EXIT.ok;
  return isBlocked || summary.files.some(({ error }) => error !== null) ? EXIT.failed : EXIT.ok;
}

type Processes = Omit<Parameters<typeof runInProcesses>[2], 'fileOf'>;

/** @throws OnewriterError NOT_FOUND, INVALID_ARGUMENT with what to say about a tree that could be understood in several ways */
function findTree(target: Target, folder: string, given: string | undefined): Tree {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
    throw new OnewriterError('NOT_FOUND', `There is no folder ${resolve(folder)}.`);
  const root = realpathSync(folder);
  const dataDir = existsSync(target.dataDir) ? realpathSync(target.dataDir) : target.dataDir;
  const inPlace =
    root === dataDir || (existsSync(tenantsDir(dataDir)) && root === realpathSync(tenantsDir(dataDir)));
  if (inPlace) return findOwnTree(target, dataDir, given);
  if (isBelow(dataDir, root)) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `${root} lies in the data directory: what is there is a tenant's already. To mark all files that are in their place: onewriter adopt ${dataDir}.`,
    );
  }
  if (given !== undefined) return listed(root, parsePattern(given), dataDir);
  const layout = layoutOf(root, dataDir);
  if ('pattern' in layout) return listed(root, layout.pattern, dataDir);
  const choices = layout.choices.map(({ pattern, files }) => `--pattern '${pattern}' (${files})`).join(', ');
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `It is not clear which files below ${root} are tenants'. Say it: ${choices}.`,
  );
}

function listed(root: string, pattern: TreePattern, dataDir: string | undefined): Tree {
  const entries = walkTree(root, pattern, dataDir);
  if (entries.length === 0)
    throw new OnewriterError('NOT_FOUND', `There is no file below ${root} that is as ${pattern.text} says.`);
  return { root, pattern, entries };
}

function layoutOf(root: string, skip: string | undefined): ReturnType<typeof findLayout> {
  const paths = walkTree(root, undefined, skip).map(({ names }) => names);
  if (paths.length > 0) return findLayout(paths);
  throw new OnewriterError(
    'NOT_FOUND',
    `There is no file below ${root} that is called like a database (.db, .db3, .sqlite, .sqlite3). Say where they are: --pattern 'tenants/{tenant}/data.bin'.`,
  );
}

/** The data directory itself: what is in its place there stays. */
function findOwnTree({ dbFile }: Target, dataDir: string, given: string | undefined): Tree {
  const pattern = parsePattern(`tenants/{tenant}/${dbFile}`);
  const entries = walkTree(dataDir, pattern, undefined);
  if (entries.length > 0 && (given === undefined || given === pattern.text))
    return { root: dataDir, pattern, entries };
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `${dataDir} is the data directory, where tenants' files are tenants/<tenant>/${dbFile}${entries.length === 0 ? ', and there is none' : ''}. Where they are called otherwise, set ONEWRITER_DB_FILE for all processes.`,
  );
}

async function lookAt(
  target: Target,
  candidates: readonly Candidate[],
  openers: Openers,
  processes: Processes,
  json: boolean | undefined,
): Promise<readonly PlannedFile[]> {
  const place = placeOf(target);
  const looks = new Map<string, FileLook>();
  const progress = createProgress(json);
  const paths = candidates.filter(({ notes }) => !notes.some(isUnreadable)).map(({ path }) => path);
  let done = 0;
  await runInProcesses<FileLook>(
    { place, job: { kind: 'look' } },
    paths,
    { ...processes, fileOf: path => path },
    (path, outcome) => {
      looks.set(path, 'error' in outcome ? notLookedAt(path, outcome.error) : outcome.result);
      progress.update(`${++done} of ${paths.length} looked at`, done / paths.length);
    },
  );
  progress.end();
  return candidates.map(candidate => planFile(place, candidate, looks.get(candidate.path), openers));
}

/** What is no file is not opened. */
function isUnreadable({ check }: { readonly check: string }): boolean {
  return check === 'link' || check === 'readable' || check === 'rights';
}

function notLookedAt(path: string, { code, message }: WireError): FileLook {
  const next = 'Give it more time (--timeout), or look at its schema.';
  return {
    ...{ bytes: sizeOf(path), walBytes: 0, hotJournal: false, journalMode: null, pageSize: null },
    ...{ encoding: null, isOnewriters: false },
    notes: [{ level: 'error', check: 'readable', found: `${code} ${message}`, next }],
  };
}

async function apply(
  target: Target,
  { root }: Tree,
  files: readonly PlannedFile[],
  processes: Processes,
  options: AdoptOptions,
): Promise<ReadonlyMap<string, JobOutcome<Adopted>>> {
  const ready = new Map(
    files.flatMap(({ state, tenant, path }) => (state === 'ready' ? [[tenant!, path]] : [])),
  );
  const tenants = [...ready.keys()];
  mkdirSync(target.dataDir, { recursive: true });
  // Without a known Redis nothing runs here, and no file takes the place of another.
  const redis = options.offline || target.redisUrl === undefined ? undefined : await openRedis(target);
  const outcomes = new Map<string, JobOutcome<Adopted>>();
  const progress = createProgress(options.json);
  const pathOf = (tenant: string) => ready.get(tenant)!;
  const onDone = (tenant: string, outcome: JobOutcome<Adopted>) => {
    outcomes.set(tenant, outcome);
    progress.end();
    if (!options.json) report(tenant, outcome);
    progress.update(`${outcomes.size} of ${tenants.length} done`, outcomes.size / tenants.length);
  };
  try {
    await asOperation(
      target,
      { kind: 'adopt', tenants, detail: root, unit: TENANTS_UNIT },
      { summarize: summarizeMoves, json: options.json, offline: redis === undefined },
      context =>
        runAdoptions(
          context,
          { kind: 'adopt', root, who: operatorName() },
          {
            place: placeOf(target),
            tenants,
            processes: {
              ...processes,
              limits: {
                ...processes.limits,
                timeoutMs: tenant => processes.limits.timeoutMs(pathOf(tenant)),
              },
              bytesOf: tenant => sizeOf(pathOf(tenant)),
              fileOf: pathOf,
              redisUrl: redis === undefined ? undefined : target.redisUrl,
            },
            onDone,
          },
        ),
    );
    progress.end();
    if (redis !== undefined) await noteInAudit(redis, target, outcomes);
    if (!options.json) process.stdout.write(closingWords(files.length, outcomes));
    return outcomes;
  } finally {
    progress.end();
    redis?.disconnect();
  }
}

function report(tenant: string, outcome: JobOutcome<Adopted>): void {
  if ('error' in outcome) {
    printError(outcome.error);
    return;
  }
  const { source, file, moved, contentHash, warnings } = outcome.result;
  const how = moved ? `${source} is now ${file}` : `${file} stays where it is`;
  process.stdout.write(`${tenant}: ${shownText(how)}, verified: ${contentHash.slice(0, 12)}\n`);
  for (const warning of warnings) process.stdout.write(`warning: ${warning}\n`);
}

async function noteInAudit(
  redis: Redis,
  { group }: Target,
  outcomes: ReadonlyMap<string, JobOutcome<Adopted>>,
): Promise<void> {
  for (const [tenant, outcome] of outcomes) {
    if ('result' in outcome)
      await audited(redis, group, 'tenant.adopt', tenant, async () => {}, outcome.result.source);
  }
}

function closingWords(total: number, outcomes: ReadonlyMap<string, JobOutcome<Adopted>>): string {
  const adopted = [...outcomes.values()].filter(outcome => 'result' in outcome).length;
  const left = outcomes.size - adopted;
  return `${adopted} of ${total} adopted${left > 0 ? `; ${left} failed and ${left === 1 ? 'is' : 'are'} as before` : ''}.\n`;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** The command that adopts what was looked at. */
function commandOf(folder: string, pattern: string, { dataDir, names }: AdoptOptions): string {
  const quote = (text: string) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const option = (name: string, value: string | undefined) =>
    value === undefined ? '' : ` --${name} ${quote(value)}`;
  return `onewriter adopt ${quote(folder)}${option('pattern', pattern)}${option('names', names)}${option('data-dir', dataDir)} --apply`;
}
