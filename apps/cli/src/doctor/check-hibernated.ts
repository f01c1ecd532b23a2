import { bad, type Diagnosis } from './diagnosis.ts';
import { someOf } from './some-of.ts';

/** Hibernated tenants without a replica that they could come back from. @param away their names */
export function checkHibernated(away: readonly string[], replicaUrl: string | undefined): Diagnosis[] {
  if (away.length === 0 || replicaUrl !== undefined) return [];
  return [
    bad(
      'error',
      'hibernated',
      `The files of ${someOf(away)} lie in a replica, and there is none here: they cannot come back.`,
      'Set ONEWRITER_REPLICA_URL, its key and its credentials as they were, and restart the broker.',
    ),
  ];
}
