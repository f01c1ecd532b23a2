import type { Fault } from '../fault.ts';
import { events } from './events.ts';
import { failover, handover } from './failover.ts';
import { failpoint } from './failpoint.ts';
import { killBroker } from './kill-broker.ts';
import { killClient } from './kill-client.ts';
import { killGateway } from './kill-gateway.ts';
import { killRedisAlways, killRedisEverysec, wipeRedis } from './kill-redis.ts';
import { network } from './network.ts';
import { pauseLeader } from './pause-leader.ts';

const ALL: readonly Fault[] = [
  killBroker,
  killGateway,
  killClient,
  failpoint,
  pauseLeader,
  failover,
  handover,
  killRedisAlways,
  killRedisEverysec,
  wipeRedis,
  network,
  events,
];

/** All faults, by name. */
export const FAULTS: ReadonlyMap<string, Fault> = new Map(ALL.map(fault => [fault.name, fault]));
