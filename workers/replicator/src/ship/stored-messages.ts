import type { FromReplicator } from './messages.ts';
import type { StoredTenant } from './ship-state.ts';

/** Tenants in one message about what is stored. */
const STORED_AT_A_TIME = 1_000;

/** What the broker hears of tenants that are stored, in messages of a bounded size. */
export function* storedMessages(stored: readonly StoredTenant[], atMs: number): Iterable<FromReplicator> {
  for (let from = 0; from < stored.length; from += STORED_AT_A_TIME) {
    const upTo = stored
      .slice(from, from + STORED_AT_A_TIME)
      .map(({ tenant, pos, commitSeq, epoch, incarnation, change }) => {
        return { tenant, pos, commitSeq, epoch, incarnation, change };
      });
    yield { kind: 'stored', upTo, atMs };
  }
}
