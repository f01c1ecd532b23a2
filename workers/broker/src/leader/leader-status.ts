import { hostname } from 'node:os';
import { placeOf, type StatusApart } from '@onewriter/protocol';
import { readReplicaStatus } from '../observe/status/replica-status.ts';
import { SlowFactsWatch } from '../observe/status/slow-facts.ts';
import { StatusPublisher } from '../observe/status/status-publisher.ts';
import type { LeaderParts } from './leader-parts.ts';

/** The status that a leader publishes for people. @param idleJobs see ReclaimAndSweep */
export function createStatus(parts: LeaderParts, idleJobs: () => number): StatusPublisher {
  const { options, services, sessions, replica } = parts;
  const { config, link, lease, log, metrics, claim } = options;
  const { loads, parked, walWatch, lanes } = services;
  const leader = () => ({
    broker: lease.broker,
    host: hostname(),
    pid: process.pid,
    epoch: lease.epoch,
    since: lease.since,
    dataDir: { id: claim.id, path: placeOf(config.dataDir).path },
    leaseHeld: lease.held,
  });
  return new StatusPublisher(
    {
      metrics,
      loads,
      slowFacts: new SlowFactsWatch(link, config, log),
      walWatch,
      parked,
      leader,
      lanes: () => lanes.all,
      apart: () => readApart(parts),
      threads: config.threads,
      maxOpenTenants: lanes.maxOpenTenants,
      threadRestarts: () => lanes.faults,
      sessions: () => sessions.size,
      idleJobs,
      transactions: () => sessions.transactions,
      replica: () => readReplicaStatus(replica, services.replica, config.replicaBufferBytes),
      hibernation: () => services.waker.status,
    },
    link,
    config.group,
    log,
  );
}

function readApart({ apart, services }: LeaderParts): StatusApart {
  const { replacements } = services;
  const { work, waiting } = services.lanes.apart;
  return {
    running: apart.process.running,
    tenant: work?.client.tenant ?? null,
    tenantForMs: work === undefined ? 0 : Math.round(services.lanes.apart.heldUpMs(performance.now())),
    waitingTenants: waiting,
    restarts: apart.process.restarts,
    replacements: replacements.count,
    spentForMs: Math.round(replacements.spentMs()),
  };
}

/** Facts for people and probes. */
export function readLeaderFacts({ options, services, sessions }: LeaderParts) {
  const { lease } = options;
  const { lanes, parked, walWatch } = services;
  return {
    leading: lease.held,
    epoch: lease.epoch,
    sessions: sessions.size,
    lanes: lanes.all.length,
    busyLanes: lanes.all.filter(lane => lane.work !== undefined).length,
    tenantApart: lanes.apart.work?.client.tenant,
    waitingApart: lanes.apart.waiting,
    waitingTenants: lanes.waiting,
    parkedTenants: parked.size,
    heldWals: walWatch.heldTenants,
  };
}
