import { readFileSync } from 'node:fs';
import { formatBytes, hasTable, openTenant, readState, toFileError } from '@onewriter/files';
import {
  assertTenantId,
  type Durability,
  isNotOwnTableSql,
  isOnewriterError,
  OnewriterError,
  ownNames,
  readDataDirIdentity,
  shownNames,
  tenantFile,
} from '@onewriter/protocol';
import {
  type CatalogueEntry,
  describeHolder,
  endsByPerson,
  isPausedByPerson,
  isTenant,
  type ParkedTenant,
  pauseTenant,
  type QueueFacts,
  readQueueFacts,
  readReason,
  resumeTenant,
  type TenantHolder,
  type TenantSize,
  type TenantState,
} from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { confirmByName } from '../confirm.ts';
import { GATEWAY_TIMEOUT_MS, openGateway } from '../open-gateway.ts';
import { openRedis, withRedis } from '../open-redis.ts';
import { audited, operatorName } from '../operator.ts';
import { inScript } from '../shell/locate-error.ts';
import { formatTable } from '../table.ts';
import {
  findRemoteTarget,
  findTarget,
  type PlaceOptions,
  placeOf,
  requireDataDir,
  type Target,
  withDataDir,
} from '../target.ts';
import { catalogueOf, foldersOf } from '../tenants/catalogue.ts';

/** Options that all commands of `onewriter tenants` have. */
export interface TenantsOptions {
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** One tenant, as `onewriter tenants list --json` lists it. */
export interface TenantSummary {
  readonly tenant: string;
  /** `unknown` where Redis does not answer. */
  readonly state: TenantState | 'unknown';
  /** Database and write-ahead log; null where there is no file yet. */
  readonly bytes: number | null;
  readonly walBytes: number | null;
  /** ISO time of the last activity that the registry knows; null where Redis knows none. */
  readonly lastActivity: string | null;
  /** Jobs that wait or are being applied; null where Redis does not answer. */
  readonly queuedJobs: number | null;
  /** Code of the reason why it cannot be written, as the broker noted it; null for a healthy tenant. */
  readonly parked: string | null;
  /** Who keeps it still, why and since when; it is active again when the last hold is released. */
  readonly holders: readonly TenantHolder[];
  /** Whether callers wait for the replica (`sync`); null: ONEWRITER_REPLICA_MODE says it, or Redis does not answer. */
  readonly durability: Durability | null;
}

/** Lists all tenants that have a file or are known to Redis, by name. */
export async function listTenants(options: TenantsOptions): Promise<number> {
  const target = findTarget(options.dataDir);
  requireDataDir(target);
  const entries = await tryReadCatalogue(target);
  if (entries === undefined) {
    process.stderr.write('onewriter: Redis does not answer; activity and queues are not shown\n');
  }
  const list = entries?.map(toSummary) ?? (await listFiles(target));
  process.stdout.write(options.json ? `${JSON.stringify(list)}\n` : listAsText(list));
  return 0;
}

/**
 * Undefined where there is no Redis, or it does not answer.
 * @throws OnewriterError MISCONFIGURED where the group belongs to another data directory
 */
async function tryReadCatalogue(target: Target): Promise<CatalogueEntry[] | undefined> {
  if (target.redisUrl === undefined) return undefined;
  let redis: Redis;
  try {
    redis = await openRedis(target);
  } catch (error) {
    if (isOnewriterError(error, 'MISCONFIGURED')) throw error;
    return undefined; // the caller says that it does not answer
  }
  try {
    const catalogue = catalogueOf(target, redis);
    return (await catalogue.look(await catalogue.names())).filter(isTenant);
  } finally {
    redis.disconnect();
  }
}

/** What is known without Redis. */
async function listFiles(target: Target): Promise<TenantSummary[]> {
  const folders = foldersOf(target);
  const names = await folders.names();
  const looks = await folders.look(names);
  return names.flatMap((tenant, index) => {
    const { size, hibernated } = looks[index]!;
    if (size === undefined && hibernated === undefined) return [];
    const state = size === undefined ? ('hibernated' as const) : ('unknown' as const);
    const unknown = { lastActivity: null, queuedJobs: null, parked: null, holders: [], durability: null };
    return [{ tenant, state, ...sizeFacts(size), ...unknown }];
  });
}

function toSummary({
  tenant,
  state,
  size,
  waitingJobs,
  activeJobs,
  ...entry
}: CatalogueEntry): TenantSummary {
  return {
    ...{ tenant, state, ...sizeFacts(size) },
    lastActivity: isoTime(entry.lastActivity ?? undefined),
    queuedJobs: waitingJobs + activeJobs,
    parked: entry.parked?.code ?? null,
    holders: entry.holders,
    durability: entry.durability,
  };
}

function sizeFacts(size: TenantSize | undefined): Pick<TenantSummary, 'bytes' | 'walBytes'> {
  return { bytes: size === undefined ? null : size.bytes + size.walBytes, walBytes: size?.walBytes ?? null };
}

/** `paused`, `releasing (restore)`, `parked: DATABASE_FULL`. */
function stateAsText(state: string, parked: string | null, holders: TenantSummary['holders']): string {
  const programs = holders.filter(holder => !endsByPerson(holder)).map(({ name }) => name);
  const text = state === 'releasing' ? `${state} (${programs.join(', ')})` : state;
  return parked === null ? text : `${text}: ${parked}`;
}

function listAsText(list: readonly TenantSummary[]): string {
  const rows = list.map(({ tenant, state, bytes, lastActivity, queuedJobs, parked, holders }) => [
    tenant,
    bytes === null ? '-' : formatBytes(bytes),
    shortTime(lastActivity),
    queuedJobs === null ? '-' : String(queuedJobs),
    stateAsText(state, parked, holders),
  ]);
  const count = `${list.length} ${list.length === 1 ? 'tenant' : 'tenants'}\n`;
  return formatTable(['tenant', 'size', 'last activity (UTC)', 'queued jobs', 'state'], rows) + count;
}

/** What `onewriter tenants info --json` prints. Null: not known, or none. */
export interface TenantDetails extends TenantSummary {
  readonly file: string;
  /** Why it cannot be written. */
  readonly parkedReason: ParkedTenant | null;
  readonly commitSeq: number | null;
  /** Epoch of the newest broker that opened the file. */
  readonly epoch: number | null;
  /** Time of the newest commit. */
  readonly lastCommit: string | null;
  readonly ledgerRows: number | null;
  readonly pageSize: number | null;
  /** Bytes of empty pages; VACUUM would free them. */
  readonly freeBytes: number | null;
  /** The tenant's own tables. */
  readonly tables: readonly string[] | null;
  /** Why the file cannot be read here. */
  readonly fileError: string | null;
}

/** Prints all that is known of one tenant. @throws OnewriterError TENANT_NOT_FOUND */
export async function tenantInfo(tenant: string, options: TenantsOptions): Promise<number> {
  assertTenantId(tenant);
  const target = findTarget(options.dataDir);
  requireDataDir(target);
  const entry = await withRedis(target, redis => catalogueOf(target, redis).find(tenant));
  if (entry === undefined) throw noSuchTenant(tenant, target);
  const info: TenantDetails = {
    ...toSummary(entry),
    file: tenantFile(target.dataDir, tenant, target.dbFile),
    parkedReason: entry.parked,
    ...(entry.size === undefined ? NO_FILE : readFile(target, tenant)),
  };
  process.stdout.write(options.json ? `${JSON.stringify(info)}\n` : infoAsText(info));
  return 0;
}

type FileFacts = Pick<
  TenantDetails,
  'commitSeq' | 'epoch' | 'lastCommit' | 'ledgerRows' | 'pageSize' | 'freeBytes' | 'tables' | 'fileError'
>;

const NO_FILE: FileFacts = {
  commitSeq: null,
  epoch: null,
  lastCommit: null,
  ledgerRows: null,
  pageSize: null,
  freeBytes: null,
  tables: null,
  fileError: null,
};

function readFile(target: Target, tenant: string): FileFacts {
  try {
    const db = openTenant(placeOf(target), tenant);
    try {
      const state = readState(db);
      const table = ownNames(db)('sqlite_onewriter_ledger');
      const ledger = hasTable(db, table)
        ? db
            .prepare<[], { rows: number; last: number | null }>(
              `SELECT count(*) AS rows, max(committed_at) AS last FROM ${table}`,
            )
            .get()
        : undefined;
      const pageSize = db.pragma('page_size', { simple: true }) as number;
      return {
        commitSeq: state?.commitSeq ?? null,
        epoch: state?.epoch ?? null,
        lastCommit: isoTime(ledger?.last ?? undefined),
        ledgerRows: ledger?.rows ?? null,
        pageSize,
        freeBytes: (db.pragma('freelist_count', { simple: true }) as number) * pageSize,
        tables: db
          .prepare<[], string>(
            `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
               AND ${isNotOwnTableSql('name')} ORDER BY name`,
          )
          .pluck()
          .all(),
        fileError: null,
      };
    } finally {
      db.close();
    }
  } catch (error) {
    const { code, message } = toFileError(error, `Cannot read tenant ${tenant}`);
    return { ...NO_FILE, fileError: `${code} ${message}` };
  }
}

function infoAsText(info: TenantDetails): string {
  const line = (label: string, value: string | number | null) =>
    value === null ? '' : `${`${label}:`.padEnd(18)}${value}\n`;
  const { parkedReason } = info;
  return [
    line('tenant', info.tenant),
    line('state', info.state),
    ...info.holders.map(holder => line('held', describeHolder(holder))),
    parkedReason === null
      ? ''
      : line('parked', `${parkedReason.code} ${parkedReason.message}${sinceOf(parkedReason)}`),
    line('file', info.file),
    line(
      'size',
      info.bytes !== null ? formatBytes(info.bytes) : parkedReason === null ? 'no file yet' : null,
    ),
    line('write-ahead log', info.walBytes === null ? null : formatBytes(info.walBytes)),
    line('free inside', info.freeBytes === null ? null : formatBytes(info.freeBytes)),
    line('commit', info.commitSeq),
    line('last commit', info.lastCommit),
    line('ledger rows', info.ledgerRows),
    line('epoch', info.epoch),
    line('last activity', info.lastActivity),
    line('queued jobs', info.queuedJobs),
    line('durability', info.durability),
    line('tables', info.tables === null ? null : shownNames(info.tables) || 'none'),
    line('file error', info.fileError),
  ].join('');
}

function sinceOf({ since }: ParkedTenant): string {
  return since === '' ? '' : ` (since ${since})`;
}

/** Options of `onewriter tenants create`. */
export interface CreateTenantOptions extends TenantsOptions {
  /** File with SQL that is applied to the new database, as a whole. */
  readonly script?: string | undefined;
}

/** Creates a tenant, through the gateway. */
export async function createTenant(tenant: string, options: CreateTenantOptions): Promise<number> {
  assertTenantId(tenant);
  const gateway = await openGateway(findTarget(options.dataDir));
  const script = options.script === undefined ? undefined : readScript(options.script);
  const response = await gateway
    .request(`/v1/tenants/${tenant}`, {
      method: 'PUT',
      json: { script },
      timeoutMs: GATEWAY_TIMEOUT_MS,
    })
    .catch((error: unknown) => {
      throw script === undefined ? error : inScript(error, script);
    });
  const created = response.status === 201;
  const answer = (await response.json()) as { readonly commitSeq: number | null };
  const result = { tenant, created, commitSeq: answer.commitSeq };
  const text = created
    ? `created ${tenant}\n`
    : `${tenant} was there already; nothing was changed${script === undefined ? '' : ', the script was not run'}\n`;
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : text);
  return 0;
}

function readScript(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new OnewriterError('INVALID_ARGUMENT', `--script: ${(cause as Error).message}`, {}, cause);
  }
}

/** Options of `onewriter tenants pause` and `resume`. */
export interface PauseOptions extends TenantsOptions, PlaceOptions {
  /** Why, for the people who see it paused. */
  readonly reason?: string | undefined;
}

/** Pauses a tenant: what is queued stays queued, its file is closed. */
export async function pause(tenant: string, options: PauseOptions): Promise<number> {
  const reason = readReason(options.reason ?? '');
  return change(tenant, options, 'tenant.pause', async (redis, { group }) => {
    await pauseTenant(redis, group, tenant, operatorName(), reason);
    return `paused ${tenant}: nothing is applied, its file is closed, reads continue. Resume: onewriter tenants resume ${tenant}${withDataDir(options)}${options.withoutFiles ? ' --without-files' : ''}\n`;
  });
}

/** Resumes a tenant. */
export async function resume(tenant: string, options: PauseOptions): Promise<number> {
  return change(tenant, options, 'tenant.resume', async (redis, target) => {
    const look = async () => (await readQueueFacts(redis, target.group, [tenant]))[0]!;
    const before = await look();
    await resumeTenant(redis, target.group, tenant);
    const { waitingJobs, activeJobs, holders } = await look();
    const jobs = waitingJobs + activeJobs;
    if (holders.length > 0) {
      return `${tenant} is not paused any more; its ${jobs === 1 ? '1 queued job waits' : `${jobs} queued jobs wait`} for: ${holders.map(describeHolder).join('; ')}\n`;
    }
    return isPausedByPerson(before.holders)
      ? `resumed ${tenant}: ${jobs === 1 ? '1 queued job is' : `${jobs} queued jobs are`} applied now\n`
      : `${tenant} was not paused; the broker looks at its queue now\n`;
  });
}

async function change(
  tenant: string,
  options: PauseOptions,
  action: string,
  work: (redis: Redis, target: Target) => Promise<string>,
): Promise<number> {
  assertTenantId(tenant);
  const target = findRemoteTarget(options);
  const detail = options.reason;
  return withRedis(target, async redis => {
    const catalogue = catalogueOf(target, redis);
    if ((await catalogue.find(tenant)) === undefined) throw noSuchTenant(tenant, target);
    const text = await audited(redis, target.group, action, tenant, () => work(redis, target), detail);
    const [{ holders, waitingJobs, activeJobs }] = (await readQueueFacts(redis, target.group, [tenant])) as [
      QueueFacts,
    ];
    const result = { tenant, paused: isPausedByPerson(holders), queuedJobs: waitingJobs + activeJobs };
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : text);
    return 0;
  });
}

/** Options of `onewriter tenants delete`. */
export interface DeleteTenantOptions extends TenantsOptions {
  readonly confirm?: string | undefined;
  readonly discardQueued?: boolean | undefined;
}

/** Deletes a tenant, through the gateway: its folder goes to the trash. */
export async function deleteTenant(tenant: string, options: DeleteTenantOptions): Promise<number> {
  assertTenantId(tenant);
  const target = findTarget(options.dataDir);
  const gateway = await openGateway(target);
  await confirmByName(`deletes tenant ${tenant}: its folder goes to the trash`, tenant, options.confirm);
  const query = options.discardQueued ? '?discardQueued=true' : '';
  const answer = await gateway.json<{ trash: string | null; deletedAt: string; expiresAt: string | null }>(
    `/v1/tenants/${tenant}${query}`,
    { method: 'DELETE', headers: { 'confirm-delete': tenant }, timeoutMs: GATEWAY_TIMEOUT_MS },
  );
  // Only with the identity it is known to be the gateway's own; else the name alone is what is known.
  const place = readDataDirIdentity(target.dataDir) === undefined ? '<data-dir>' : target.dataDir;
  const folder = answer.trash === null ? null : `${place}/trash/${answer.trash}`;
  const text =
    folder === null
      ? `deleted ${tenant}: its folder was gone already\n`
      : `deleted ${tenant}: its folder is ${folder} until ${answer.expiresAt}\n` +
        `Undo: onewriter restore ${folder}/${target.dbFile} ${tenant}\n`;
  process.stdout.write(options.json ? `${JSON.stringify({ ...answer, tenant, folder })}\n` : text);
  return 0;
}

function noSuchTenant(tenant: string, target: Target): OnewriterError {
  return new OnewriterError(
    'TENANT_NOT_FOUND',
    `There is no tenant ${tenant}: no file in ${target.dataDir}, and Redis does not know it.`,
    { tenant },
  );
}

function isoTime(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

function shortTime(iso: string | null): string {
  return iso === null ? '-' : iso.slice(0, 19).replace('T', ' ');
}
