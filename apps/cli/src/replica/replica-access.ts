import { OnewriterError } from '@onewriter/protocol';
import { configuredAccess, type ReplicaAccess } from '@onewriter/replicator';
import type { Config } from '@onewriter/runtime';

/** How a command reaches the stores of the settings, the first one first. @throws OnewriterError MISCONFIGURED */
export function replicaAccesses(config: Config): readonly ReplicaAccess[] {
  const access = replicaAccess(config);
  return (config.replicaUrl ?? access.url).split(',').map(url => ({ ...access, url }));
}

/** How a command reaches the replica. @param from `--from` @throws OnewriterError MISCONFIGURED */
export function replicaAccess(config: Config, from?: string | undefined): ReplicaAccess {
  const access = configuredAccess(config, from);
  if (access !== undefined) return access;
  throw new OnewriterError(
    'MISCONFIGURED',
    'It is not known where the replica is: name it with --from s3://bucket/prefix (or file:///dir), or set ONEWRITER_REPLICA_URL.',
  );
}
