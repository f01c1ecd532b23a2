import type { LeaderOptions } from '../leader/leader-options.ts';
import type { LeaderPhase } from '../leader/leader-phase.ts';
import { Replica } from './replica.ts';
import { toReplicatorData } from './replicator-data.ts';
import { findUnknownTenants } from './unknown-tenants.ts';

/**
 * Starts the replicator of a leader; undefined where nothing is replicated.
 * @throws OnewriterError MISCONFIGURED
 */
export function createReplica(
  { config, log, claim }: Pick<LeaderOptions, 'config' | 'log' | 'claim'>,
  phase: LeaderPhase,
): Replica | undefined {
  const data = toReplicatorData(config, claim.id);
  if (data === undefined) return undefined;
  const noteUnknown = async (known: ReadonlySet<string>) => {
    for await (const tenant of findUnknownTenants(config, known)) replica.note({ kind: 'replaced', tenant });
  };
  const replica = new Replica({
    data,
    defaultMode: config.replicaMode,
    boundBytes: config.replicaBufferBytes,
    log,
    onFenced: message => phase.end(message),
    onStarted: known => {
      log.info({ tenants: known.length }, 'Replicating');
      noteUnknown(new Set(known)).catch(error =>
        log.error(
          { err: error },
          'Tenants that are not in the store could not be listed; their next write begins them',
        ),
      );
    },
  });
  replica.start();
  return replica;
}
