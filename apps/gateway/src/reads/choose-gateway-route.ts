import { inspectDataDir } from '@onewriter/protocol';
import type { Config, Logger } from '@onewriter/runtime';

/** How a gateway reads: from the files, or through the owner where only the broker may open them. Says once why. */
export function chooseGatewayRoute(
  { dataDir, dataDirKind, gatewayReads }: Config,
  log: Logger,
): 'file' | 'owner' {
  if (gatewayReads !== 'auto') return gatewayReads;
  const found = inspectDataDir(dataDir, dataDirKind);
  if (found.kind !== 'network') return 'file';
  log.warn(
    { dataDir, fileSystem: found.fileSystem },
    'The data directory is on a network file system, where only the broker may open files: reading through the owner',
  );
  return 'owner';
}
