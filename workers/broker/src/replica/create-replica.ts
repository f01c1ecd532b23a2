import type { StoredBranch } from '@onewriter/replicator';
import type { LeaderOptions } from '../leader/leader-options.ts';
import type { LeaderPhase } from '../leader/leader-phase.ts';
import type { BranchRequests } from './branch-requests.ts';
import { findDeletedTenants } from './deleted-tenants.ts';
import { Replica, type ReplicaOptions } from './replica.ts';
import { toReplicatorData } from './replicator-data.ts';
import { findUnknownTenants } from './unknown-tenants.ts';

/**
 * Starts the replicator of a leader; undefined where nothing is replicated.
 * @throws OnewriterError MISCONFIGURED
 */
export function createReplica(
  { config, log, claim }: Pick<LeaderOptions, 'config' | 'log' | 'claim'>,
  phase: LeaderPhase,
  onDurabilities: ReplicaOptions['onDurabilities'],
  branches: () => Pick<BranchRequests, 'onStarted' | 'onBased'>,
): Replica | undefined {
  const data = toReplicatorData(config, claim.id);
  if (data === undefined) return undefined;
  const noteChanges = async (known: readonly string[], stored: readonly StoredBranch[]) => {
    branches().onStarted(stored);
    for await (const tenant of findDeletedTenants(config, known)) replica.note({ kind: 'deleted', tenant });
    for await (const tenant of findUnknownTenants(config, new Set(known)))
      replica.note({ kind: 'replaced', tenant });
  };
  const replica = new Replica({
    data,
    defaultMode: config.replicaMode,
    boundBytes: config.replicaBufferBytes,
    log,
    onFenced: message => phase.end(message),
    onDurabilities,
    onBased: message => void branches().onBased(message).catch(phase.onBug),
    onStarted: (known, stored) => {
      log.info({ tenants: known.length }, 'Replicating');
      noteChanges(known, stored).catch(error =>
        log.error(
          { err: error },
          'Files could not be compared with the store: deleted tenants are still in it, and others begin with their next write',
        ),
      );
    },
  });
  replica.start();
  return replica;
}
