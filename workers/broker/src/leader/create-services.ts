import { join } from 'node:path';
import {
  chooseBrokerOpenFiles,
  inspectDataDir,
  readFormerIdentity,
  readProcessRoom,
  runningDir,
  type WireError,
} from '@onewriter/protocol';
import { configuredAccess } from '@onewriter/replicator';
import type { Config, Logger } from '@onewriter/runtime';
import { Apart, type ApartOptions } from '../lanes/apart/apart.ts';
import { JobMemory, jobMemoryBytes } from '../lanes/job-memory.ts';
import { Lanes } from '../lanes/lanes.ts';
import { writeMemoryBytes } from '../lanes/memory-watch.ts';
import { WalWatch } from '../lanes/wal-watch.ts';
import type { BatchObserver } from '../observe/finished-batch.ts';
import { JobLog } from '../observe/job-log.ts';
import { TenantLoads } from '../observe/status/tenant-load.ts';
import { WriteSpans } from '../observe/write-spans.ts';
import { DeadLetters } from '../queue/dead-letters.ts';
import { InboxEvents } from '../queue/inbox-events.ts';
import { readFailpoint } from '../recovery/failpoint.ts';
import { PoisonedJobs } from '../recovery/poisoned-jobs.ts';
import { BranchRequests } from '../replica/branch-requests.ts';
import type { CaptureLink } from '../replica/capture-link.ts';
import { createReplica } from '../replica/create-replica.ts';
import { Durabilities } from '../replica/durabilities.ts';
import { NoReplica } from '../replica/no-replica.ts';
import type { Replica } from '../replica/replica.ts';
import { ReplicaAnswers } from '../replica/replica-answers.ts';
import type { ReplicaState } from '../replica/replica-state.ts';
import { ClientPresence } from '../tenant/client-presence.ts';
import { Offenders } from '../tenant/offenders.ts';
import { Parked } from '../tenant/parked.ts';
import { ReadShare } from '../tenant/read-share.ts';
import { ReplacementBudget } from '../tenant/replacement-budget.ts';
import type { SessionContext } from '../tenant/session/tenant-session.ts';
import { Waker } from '../tenant/waker.ts';
import { createHibernation } from './create-hibernation.ts';
import type { Hibernation } from './hibernation.ts';
import type { LeaderOptions } from './leader-options.ts';
import type { LeaderPhase } from './leader-phase.ts';
import type { DataDirClock } from './retention-clock.ts';

/** What lanes and sessions call in other parts of the leader. */
export interface ServiceCalls
  extends Pick<SessionContext, 'onFenced' | 'onHeld' | 'finishSoon'>,
    Pick<ApartOptions, 'onStopped' | 'onApplied'> {
  /** Opens a tenant's file, though no job needs it. */
  readonly tryFile: (tenant: string) => void;
}

/** What a leader creates for the sessions of its tenants. */
export interface CreatedServices {
  readonly services: SessionContext;
  readonly apart: Apart;
  readonly replica: ReplicaState;
  readonly shipping: Replica | undefined;
  readonly durabilities: Durabilities;
  readonly branches: BranchRequests;
  /** Undefined where nothing hibernates by time or room. */
  readonly hibernation: Hibernation | undefined;
}

/** Creates what the sessions of all tenants share: lanes with their threads, and the ways to Redis. */
export function createServices(
  options: LeaderOptions,
  phase: LeaderPhase,
  clock: DataDirClock,
  calls: ServiceCalls,
): CreatedServices {
  const { config, log, link, lease, metrics } = options;
  const parked = new Parked(link, config.group, log);
  const shipping = createReplica(
    options,
    phase,
    stored => durabilities.adopt(stored),
    () => branches,
  );
  const replica = shipping ?? new NoReplica();
  const replacements = new ReplacementBudget(link, config, log);
  const apart = new Apart({
    limitBytes: writeMemoryBytes(config.writeMemoryBytes),
    statementTimeoutMs: config.statementTimeoutMs,
    onStopped: calls.onStopped,
    onApplied: calls.onApplied,
    log,
  });
  const access = configuredAccess(config);
  const place = {
    ...{
      dataDir: config.dataDir,
      group: config.group,
      dbFile: config.dbFile,
      busyTimeoutMs: config.busyTimeoutMs,
    },
  };
  const waker = new Waker({
    data: access && { place, access },
    storedPos: tenant => replica.stored(tenant)?.pos,
    mayPlace: () => lease.held && !phase.isEnding,
    onEnded: (outcome, ms) => metrics.wakeEnded(outcome, ms),
    log,
  });
  const lanes = createLanes(options, { clock, apart, capture: shipping }, phase, (tenant, finding) => {
    const { code, message } = finding;
    // The successor finds it with the tenant's next write.
    if (phase.isEnding) log.error({ tenant, code }, `Found when the tenant was closed: ${message}`);
    else parked.park(tenant, finding);
  });
  apart.attach(lanes.apart);
  const services: SessionContext = {
    lanes,
    link,
    inbox: new InboxEvents(link, config.group),
    presence: new ClientPresence(link, config.group),
    deadLetters: new DeadLetters(link, config.group, log),
    poisoned: new PoisonedJobs(link, config.group, log),
    parked,
    offenders: new Offenders(link, config, parked, replacements, log),
    replacements,
    replica: new ReplicaAnswers(
      replica,
      () => lease.epoch,
      undefined,
      () => durabilities.areKnown,
    ),
    readShare: new ReadShare(),
    waker,
    metrics,
    loads: new TenantLoads(),
    memory: new JobMemory(jobMemoryBytes(config.jobMemoryBytes)),
    walWatch: new WalWatch(config.dataDir, config.dbFile, log),
    observers: createObservers(config, log),
    log,
    epoch: () => lease.epoch,
    transactionLimits: {
      timeoutMs: config.transactionTimeoutMs,
      idleMs: config.transactionIdleMs,
      maxMs: config.transactionMaxMs,
    },
    onFenced: calls.onFenced,
    onHeld: calls.onHeld,
    finishSoon: calls.finishSoon,
    afterCommit: readFailpoint('after-commit', process.env['ONEWRITER_FAILPOINT']),
    onBug: phase.onBug,
  };
  const isRestored = readFormerIdentity(config.dataDir) !== undefined;
  const durabilities = new Durabilities({
    ...{ link, group: config.group, state: replica, shipping, isRestored, log },
  });
  const branches = new BranchRequests({ link, config, shipping, log });
  const hibernation = createHibernation(options, place, access, shipping, calls.tryFile);
  return { services, apart, replica, shipping, durabilities, branches, hibernation };
}

/** What lanes work with. */
interface LaneParts {
  readonly clock: DataDirClock;
  readonly apart: Apart;
  readonly capture: CaptureLink | undefined;
}

/** @param onChanged called for what was found when a tenant was closed: people should know before its next write is refused */
function createLanes(
  { config, log, lease, threads, claim }: LeaderOptions,
  { clock, apart, capture }: LaneParts,
  phase: LeaderPhase,
  onChanged: (tenant: string, finding: WireError) => void,
): Lanes {
  const directory = inspectDataDir(config.dataDir, config.dataDirKind);
  const exclusive = directory.kind === 'network';
  if (exclusive) {
    log.warn(
      { dataDir: config.dataDir, fileSystem: directory.fileSystem },
      'The data directory is on a network file system: this process locks the files, and others cannot read them directly',
    );
  }
  const openFiles = chooseBrokerOpenFiles(readProcessRoom(), config.threads, config.maxOpenTenants);
  log.info(openFiles, 'Tenants that each writer thread keeps open, and logs to flush');
  return new Lanes({
    threads: config.threads,
    log,
    started: threads,
    mayBegin: () => lease.held,
    apart: apart.process,
    capture,
    onChanged,
    openFiles,
    onBroken: phase.onBug,
    writer: {
      dataDir: config.dataDir,
      dbFile: config.dbFile,
      createTenants: config.createTenants,
      busyTimeoutMs: config.busyTimeoutMs,
      exclusive,
      runningNote: join(runningDir(config.dataDir), String(lease.epoch)),
      dataDirId: claim.id,
      formerDataDirId: readFormerIdentity(config.dataDir),
      retentionClock: { id: clock.id, offsetMs: clock.offsetMs },
    },
  });
}

function createObservers(config: Config, log: Logger): readonly BatchObserver[] {
  const jobLog = new JobLog({ slowMs: config.slowWriteMs, values: config.logValues, log });
  return config.traceUrl === undefined ? [jobLog] : [jobLog, new WriteSpans()];
}
