import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  describeLedFrom,
  describeSecondRedis,
  findStatusProblems,
  groupKeys,
  isOnewriterError,
  type LedFrom,
  lastLeaderFile,
  parseDataDirRecord,
  readDataDirIdentity,
  readLastLeader,
  readSecondRedisNote,
  SECOND_REDIS_REMEDY,
  type SecondRedisNote,
  withoutCredentials,
} from '@onewriter/protocol';
import { type GroupStatus, readGroupStatus } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { openGateway } from '../open-gateway.ts';
import { findForeignGroup } from '../open-redis.ts';
import { requireRedis, type Target } from '../target.ts';
import { checkOpenFiles } from './check-machine.ts';
import { judgeClock } from './check-redis.ts';
import { bad, type Diagnosis, ok, skipped } from './diagnosis.ts';
import { nextForAlert } from './next-for-alert.ts';

const PROBE_TIMEOUT_MS = 3_000;
/** A leader renews its note in the data directory several times in this time. */
const RENEWED_WITHIN_MS = 10_000;
/** The resolution of the header Date. */
const DATE_UNCERTAIN_MS = 1_500;
/** What is looked at here directly, because it must be found without a broker, too. */
const LOOKED_AT_DIRECTLY = /^Onewriter(NoLeader|Redis|DiskFull)/;

/** Checks whether `onewriter up`, gateway and dashboard are what they should be. */
export async function checkServices(target: Target): Promise<Diagnosis[]> {
  const diagnoses: Diagnosis[] = [];
  const { run } = target;
  if (run !== undefined && !isAlive(run.pid)) {
    diagnoses.push(
      bad(
        'error',
        'up',
        `onewriter.json names an \`onewriter up\` with pid ${run.pid}, which is gone: it was killed.`,
        'Start it again; it ends what is left of the last one.',
      ),
    );
  }
  const gatewayUrl = target.config.gatewayUrl ?? run?.gatewayUrl;
  const urls = { gateway: gatewayUrl, dashboard: run?.dashboardUrl };
  for (const [name, url] of Object.entries(urls)) {
    diagnoses.push(
      url === undefined
        ? skipped(name, `no address is known${name === 'gateway' ? '; set ONEWRITER_GATEWAY_URL' : ''}`)
        : await probe(name, url),
    );
  }
  if (gatewayUrl !== undefined) diagnoses.push(...(await checkGatewayDoor(target, gatewayUrl)));
  return diagnoses;
}

async function probe(name: string, url: string): Promise<Diagnosis> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
    const body = (await response.json()) as { readonly reasons?: readonly string[] };
    if (response.ok) return ok(name, `${url} is ready`);
    const reasons = body.reasons?.join(' ') ?? `it answers ${response.status}`;
    return bad(
      'error',
      name,
      `${url} is not ready: ${reasons}`,
      'Do what is said elsewhere here; else look at its log.',
    );
  } catch (error) {
    const { message, cause } = error as Error & { cause?: { code?: string } };
    return bad(
      'error',
      name,
      `${url} does not answer (${cause?.code ?? message}).`,
      'Start it, or set its address right; `onewriter up` starts it again when it dies.',
    );
  }
}

/** Whether this command's token is one of the gateway's. */
async function checkGatewayDoor(target: Target, url: string): Promise<Diagnosis[]> {
  try {
    const gateway = await openGateway(target);
    const started = Date.now();
    const response = await gateway.request('/v1/tenants?limit=1', { timeoutMs: PROBE_TIMEOUT_MS });
    await response.body?.cancel();
    const date = Date.parse(response.headers.get('date') ?? '');
    const diagnoses = [ok('token', 'the gateway takes this command’s token')];
    if (!Number.isNaN(date)) {
      diagnoses.push(judgeClock('the gateway', date - (started + Date.now()) / 2, DATE_UNCERTAIN_MS));
    }
    return diagnoses;
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    if (error.code === 'UNAUTHENTICATED') {
      return [
        bad(
          'error',
          'token',
          `The gateway at ${url} refuses this command’s token: it has another secret, or the token is expired.`,
          'Give both the same ONEWRITER_TOKEN_SECRET, or a valid ONEWRITER_TOKEN here; apps’ tokens of the other secret are refused, too.',
        ),
      ];
    }
    return [skipped('token', error.message)];
  }
}

/** Checks who leads, and what the leader reports. */
export async function checkBrokers(target: Target, redis: Redis): Promise<Diagnosis[]> {
  const group = await readGroupStatus(redis, target.group);
  const diagnoses = [
    await checkGroupOwner(target, redis),
    checkLeader(target, group),
    checkEpoch(target, group),
    await checkSecondRedis(target, group, redis),
  ];
  for (const { level, alert, text } of findStatusProblems(group)) {
    if (LOOKED_AT_DIRECTLY.test(alert)) continue;
    diagnoses.push(bad(level === 'critical' ? 'error' : 'warning', alert, text, nextForAlert(alert)));
  }
  const leader = group.brokers.find(broker => broker.state === 'leading');
  // Its limits are in this machine's /proc.
  if (leader !== undefined && target.run?.pids.brokers?.includes(leader.pid)) {
    diagnoses.push(checkOpenFiles(leader.pid, target));
  }
  return diagnoses;
}

function checkLeader(target: Target, { status, brokers, lease, problem }: GroupStatus): Diagnosis {
  if (status?.leader.leaseHeld) {
    const { host, pid, epoch } = status.leader;
    const standbys = brokers.filter(({ state }) => state === 'standby').length;
    const found = `pid ${pid} on ${host} leads with epoch ${epoch}`;
    if (standbys > 0)
      return ok('leader', `${found}; ${standbys === 1 ? '1 stands' : `${standbys} stand`} by`);
    if (target.run?.spareBroker && target.run.pids.broker === pid)
      return ok('leader', `${found}; \`onewriter up\` keeps a spare process for it`);
    return bad(
      'note',
      'leader',
      `${found}; there is no standby.`,
      'For a take-over within a moment: ONEWRITER_SPARE_BROKER=on, onewriter up --brokers 2, or a second broker.',
    );
  }
  if (lease !== undefined) {
    return bad(
      'error',
      'leader',
      `Broker pid ${lease.pid} on ${lease.host} holds the lease since ${lease.since}, and reports nothing${problem === undefined ? '' : ` that can be understood (${problem})`}.`,
      'It starts, or hangs (stopped, out of memory, a disk that does not answer): look at its log; end it, and another takes over.',
    );
  }
  const running = brokers.map(({ pid, host, state }) => `pid ${pid} on ${host} is ${state}`).join('; ');
  return bad(
    'error',
    'leader',
    `No broker leads group "${target.group}"${running === '' ? ', and none runs' : `: ${running}`}. Writes wait in their queues.`,
    target.run === undefined
      ? 'Start one: npm start, or your service; it needs this Redis, this group and this data directory.'
      : '`onewriter up` starts it again and again; its log says why it ends.',
  );
}

/** Two installations on one Redis and group answer each other's writes. */
async function checkGroupOwner(target: Target, redis: Redis): Promise<Diagnosis> {
  const { group, dataDir } = target;
  try {
    const trouble = await findForeignGroup(target, redis);
    if (trouble !== undefined) {
      return bad(
        'error',
        'data-directory-owner',
        trouble.message,
        readDataDirIdentity(dataDir) === undefined
          ? 'Name the data directory with --data-dir or ONEWRITER_DATA_DIR, or mount its disk.'
          : 'Stop one of the two until they are apart.',
      );
    }
  } catch (error) {
    if (!isOnewriterError(error, 'MISCONFIGURED')) throw error;
    return bad('error', 'data-directory-owner', error.message, null);
  }
  const owner = parseDataDirRecord(await redis.get(groupKeys(group).dataDir));
  if (owner === undefined)
    return skipped('data-directory-owner', `no broker has claimed group "${group}" yet`);
  const place = `${owner.host}:${owner.path}`;
  return ok(
    'data-directory-owner',
    `group "${group}" belongs to ${place}${owner.path === dataDir ? '' : `, seen here as ${dataDir}`}`,
  );
}

/** A Redis that lost its data gives out epochs that the files have seen already. */
function checkEpoch(target: Target, { lease }: GroupStatus): Diagnosis {
  let floor = 0;
  try {
    floor = Number(readFileSync(join(target.dataDir, 'epoch'), 'utf8').trim());
  } catch {
    return skipped('epoch', `${join(target.dataDir, 'epoch')} cannot be read, or no broker has led here yet`);
  }
  if (lease === undefined || lease.epoch >= floor)
    return ok('epoch', `the highest led with here is ${floor}`);
  return bad(
    'error',
    'epoch',
    `The leader has epoch ${lease.epoch}, and these files were led with ${floor}: its data directory is another, or Redis lost its data.`,
    'Check whether broker and files belong together (ONEWRITER_DATA_DIR, ONEWRITER_GROUP), then restart the broker.',
  );
}

/** Brokers of two Redis servers on one data directory say so there: the one that leads, and the one that stands aside. */
async function checkSecondRedis(target: Target, { lease }: GroupStatus, redis: Redis): Promise<Diagnosis> {
  const { dataDir, group } = target;
  let note: SecondRedisNote | undefined;
  let leader: LedFrom | undefined;
  let renewedMs = 0;
  try {
    note = readSecondRedisNote(dataDir);
    leader = readLastLeader(dataDir);
    renewedMs = statSync(lastLeaderFile(dataDir), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  } catch (error) {
    return skipped('second-redis', (error as Error).message);
  }
  const redisId = await redis.get(groupKeys(group).redisId);
  if (note !== undefined) {
    const isThis = redisId === note.gaveWay.redisId;
    return bad(
      isThis ? 'error' : 'warning',
      'second-redis',
      `${describeSecondRedis(dataDir, note)} ${isThis ? 'No broker of this Redis leads while the other does.' : 'Its brokers do not lead while one of this Redis does.'}`,
      SECOND_REDIS_REMEDY,
    );
  }
  const here = withoutCredentials(requireRedis(target));
  // A Redis that lost its data has another id, at the same address.
  const isOther = leader !== undefined && leader.redisId !== redisId && leader.redis !== here;
  const isLeading = Date.now() - renewedMs < RENEWED_WITHIN_MS || (lease?.epoch ?? 0) > 0;
  if (!isOther || leader === undefined || leader.ended === true || !isLeading) {
    return ok('second-redis', 'no broker leads these files through another Redis');
  }
  const found = `The files in ${dataDir} are led through another Redis than ${here}, group "${group}": ${describeLedFrom(leader)} has the newest epoch, ${leader.epoch}.`;
  return bad('error', 'second-redis', found, SECOND_REDIS_REMEDY);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
