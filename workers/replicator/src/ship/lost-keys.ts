import type { Keyring } from '../format/keyring.ts';
import { untilAnswered } from './pack-writer.ts';
import type { PackedTenant } from './ship-state.ts';
import type { TenantLine } from './tenant-line.ts';

/**
 * Finds full segments whose key is gone by the time they are stored: their tenants came while the history of a former tenant of their
 * name was erased. An erasure that finds them in the store leaves them their key, so one of the two sees the other.
 * @param pack that is stored
 * @throws Error after the signal aborted
 */
export async function findLostKeys(
  pack: readonly PackedTenant[],
  keys: Keyring,
  signal: AbortSignal,
): Promise<readonly TenantLine[]> {
  const lost: TenantLine[] = [];
  for (const { line, fullKey } of pack) {
    if (fullKey === undefined || !fullKey.startsWith('t')) continue;
    if (!(await untilAnswered(signal, () => keys.hasStill(line.tenant, fullKey)))) lost.push(line);
  }
  return lost;
}
