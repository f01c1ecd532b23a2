import type { Fault } from '../fault.ts';
import { largeBacklog, largeBacklogShort, manyActive, wideBacklog } from './backlogs.ts';
import { clockJumps } from './clock-jumps.ts';
import { changedFile, corruptFile, deletedIndex, movedFile, otherWriter, replacedFile } from './damage.ts';
import { deadGateway } from './dead-gateway.ts';
import { diskFull, ioErrors, powerCut, powerCutSlowFlush } from './disk.ts';
import { duplicates } from './duplicates.ts';
import { events } from './events.ts';
import { failover, handover } from './failover.ts';
import { failpoint } from './failpoint.ts';
import { fullQueues } from './full-queues.ts';
import { heldFile } from './held-file.ts';
import { hibernation } from './hibernation.ts';
import { imports } from './imports.ts';
import { incarnations } from './incarnations.ts';
import { killBroker } from './kill-broker.ts';
import { killClient } from './kill-client.ts';
import { killGateway } from './kill-gateway.ts';
import { killRedisAlways, killRedisEverysec, wipeRedis } from './kill-redis.ts';
import { killLeaderAndRedis } from './leader-and-redis.ts';
import { longReaders } from './long-readers.ts';
import { lostMachineAsync, lostMachineSync } from './lost-machine.ts';
import { movingTenants } from './moving-tenants.ts';
import { network } from './network.ts';
import { oldSnapshot } from './old-snapshot.ts';
import { openTransaction } from './open-transaction.ts';
import { orderOfLife } from './order-of-life.ts';
import { overload } from './overload.ts';
import { ownerReads } from './owner-reads.ts';
import { pauseLeader } from './pause-leader.ts';
import { endlessStatement, endlessStatements, poisonJob, repeatOffender } from './poison.ts';
import { raisedEpochs } from './raised-epochs.ts';
import { redisClock } from './redis-clock.ts';
import { redisMemory } from './redis-memory.ts';
import { redisRoles, scriptFlush } from './redis-roles.ts';
import { rollingRestart } from './rolling-restart.ts';

const ALL: readonly Fault[] = [
  killBroker,
  ownerReads,
  killGateway,
  killClient,
  failpoint,
  pauseLeader,
  failover,
  handover,
  killRedisAlways,
  killRedisEverysec,
  wipeRedis,
  killLeaderAndRedis,
  oldSnapshot,
  network,
  events,
  duplicates,
  redisMemory,
  redisRoles,
  scriptFlush,
  ioErrors,
  diskFull,
  powerCut,
  powerCutSlowFlush,
  corruptFile,
  movedFile,
  replacedFile,
  heldFile,
  orderOfLife,
  incarnations,
  changedFile,
  deletedIndex,
  otherWriter,
  poisonJob,
  endlessStatement,
  endlessStatements,
  repeatOffender,
  clockJumps,
  redisClock,
  longReaders,
  movingTenants,
  openTransaction,
  deadGateway,
  imports,
  raisedEpochs,
  rollingRestart,
  overload,
  largeBacklog,
  largeBacklogShort,
  manyActive,
  wideBacklog,
  fullQueues,
  lostMachineAsync,
  lostMachineSync,
  hibernation,
];

/** All faults, by name. */
export const FAULTS: ReadonlyMap<string, Fault> = new Map(ALL.map(fault => [fault.name, fault]));
