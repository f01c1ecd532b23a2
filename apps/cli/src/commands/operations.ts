import {
  isEnded,
  OPERATION_STATES,
  type Operation,
  type OperationState,
  OperationStore,
  type OperationWithLog,
  watchOperation,
} from '@onewriter/operations';
import { EXIT } from '../exit-codes.ts';
import { withRedis } from '../open-redis.ts';
import { audited, operatorName } from '../operator.ts';
import { createProgress } from '../progress.ts';
import { count, formatTable } from '../table.ts';
import { findRemoteTarget, type PlaceOptions, type Target } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options that all commands of `onewriter operations` have. */
export interface OperationsOptions extends PlaceOptions {
  readonly json?: boolean | undefined;
}

/** Options of `onewriter operations list`, as the command line gives them. */
export interface ListOperationsOptions extends OperationsOptions {
  readonly state?: string | undefined;
  readonly limit?: string | undefined;
}

const DEFAULT_LIMIT = 50;

/** Lists operations, the newest first. */
export async function listOperations(options: ListOperationsOptions): Promise<number> {
  const limit = parseLimit(options.limit);
  const state = parseState(options.state);
  const all = await withStore(options, store => store.list());
  const found = all.filter(operation => state === undefined || operation.state === state);
  const shown = found.slice(0, limit);
  process.stdout.write(
    options.json ? `${JSON.stringify(shown)}\n` : asTable(shown, found.length - shown.length),
  );
  return EXIT.ok;
}

/** Shows one operation, with its log. @throws OnewriterError NOT_FOUND */
export async function showOperation(id: string, options: OperationsOptions): Promise<number> {
  const operation = await withStore(options, store => store.get(id));
  process.stdout.write(options.json ? `${JSON.stringify(operation)}\n` : asText(operation));
  return EXIT.ok;
}

/** Asks the process that carries an operation out to stop it. @throws OnewriterError NOT_FOUND */
export async function cancelOperation(id: string, options: OperationsOptions): Promise<number> {
  return withStore(options, async (store, target, redis) => {
    const { tenants, state } = await store.get(id);
    const cancelled = await audited(
      redis,
      target.group,
      'operation.cancel',
      tenants?.length === 1 ? tenants[0]! : '',
      () => store.cancel(id, operatorName()),
      id,
    );
    if (options.json) process.stdout.write(`${JSON.stringify({ id, cancelled })}\n`);
    else process.stdout.write(cancelled ? `${id} is asked to stop\n` : `${id} has ended already: ${state}\n`);
    return EXIT.ok;
  });
}

/** Follows an operation until it ends. @returns 1 where it did not end well @throws OnewriterError NOT_FOUND */
export async function watchOne(id: string, options: OperationsOptions): Promise<number> {
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort());
  const progress = createProgress(options.json);
  let last: OperationWithLog | undefined;
  await withStore(options, async store => {
    for await (const { operation, newLines } of watchOperation(store, id, stopping.signal)) {
      last = operation;
      if (options.json) {
        process.stdout.write(`${JSON.stringify({ ...operation, log: newLines })}\n`);
        continue;
      }
      progress.end();
      for (const line of newLines) process.stdout.write(`${line}\n`);
      if (!isEnded(operation.state)) progress.update(describeProgress(operation), fractionOf(operation));
    }
  });
  progress.end();
  if (last === undefined || !isEnded(last.state)) return EXIT.ok; // the person stopped watching
  if (!options.json) process.stdout.write(`${describeEnd(last)}\n`);
  return last.state === 'done' ? EXIT.ok : EXIT.failed;
}

function withStore<T>(
  options: OperationsOptions,
  work: (
    store: OperationStore,
    target: Target,
    redis: Parameters<Parameters<typeof withRedis>[1]>[0],
  ) => Promise<T>,
): Promise<T> {
  const target = findRemoteTarget(options);
  return withRedis(target, redis => work(new OperationStore(redis, target.group), target, redis));
}

/** @throws UsageError */
function parseLimit(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LIMIT;
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new UsageError('--limit is a whole number above 0.');
}

/** @throws UsageError */
function parseState(text: string | undefined): OperationState | undefined {
  if (text === undefined) return undefined;
  const state = OPERATION_STATES.find(known => known === text);
  if (state !== undefined) return state;
  throw new UsageError(`--state is one of ${OPERATION_STATES.join(', ')}.`);
}

function asTable(operations: readonly Operation[], more: number): string {
  if (operations.length === 0) return 'There are no operations.\n';
  const rows = operations.map(operation => [
    operation.id,
    operation.kind,
    operation.state,
    describeTenants(operation),
    describeProgress(operation),
    operation.createdAt.slice(0, 19).replace('T', ' '),
    operation.who,
  ]);
  const table = formatTable(['id', 'kind', 'state', 'tenants', 'progress', 'since (UTC)', 'who'], rows);
  return more > 0 ? `${table}and ${more} more: --limit\n` : table;
}

function asText(operation: OperationWithLog): string {
  const { id, kind, state, detail, createdAt, endedAt, who, cancelledBy, error, result, log } = operation;
  const lines = [
    `${id}  ${kind} of ${describeTenants(operation)}: ${state}`,
    `by ${who}, since ${createdAt}${endedAt === null ? '' : `, until ${endedAt}`}`,
    ...(detail === '' ? [] : [detail]),
    describeProgress(operation),
    ...(cancelledBy === null ? [] : [`${cancelledBy} asked to stop it`]),
    ...(error === null ? [] : [`${error.code} ${error.message}`]),
    ...(result === null ? [] : [JSON.stringify(result)]),
    ...log.map(line => `  ${line}`),
  ];
  return `${lines.join('\n')}\n`;
}

function describeTenants({ tenants }: Operation): string {
  if (tenants === null) return 'all';
  return tenants.length <= 3
    ? tenants.join(', ')
    : `${tenants.slice(0, 2).join(', ')} and ${tenants.length - 2} more`;
}

/** `3 of 10 tenants, 1.5/s, 5 s left` */
function describeProgress({ progress }: Operation): string {
  const { done, total, unit, perSecond, remainingMs } = progress;
  const rate = perSecond === null ? '' : `, ${perSecond.toFixed(perSecond < 10 ? 1 : 0)}/s`;
  const left = remainingMs === null || remainingMs === 0 ? '' : `, ${describeSpan(remainingMs)} left`;
  return `${done}${total === null ? '' : ` of ${total}`} ${unit}${rate}${left}`;
}

/** `45 s`, `12 min`, `3.5 h` */
function describeSpan(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}

function fractionOf({ progress: { done, total } }: Operation): number | undefined {
  return total === null || total === 0 ? undefined : done / total;
}

function describeEnd({ state, error, progress: { done, unit } }: Operation): string {
  return error === null
    ? `${state}: ${count(done, unit.replace(/s$/, ''))}`
    : `${state}: ${error.code} ${error.message}`;
}
