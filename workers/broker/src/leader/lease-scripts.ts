import { defineScript } from '../queue/redis-link.ts';
import { ACQUIRE_LEASE, RAISE_EPOCH, RELEASE_LEASE, RENEW_LEASE } from './lua-scripts.ts';

/*
 * The atomic changes of the lease in Redis. A record is a LeaseRecord as JSON, its epoch first. It is the holder's if it has the
 * holder's name, `"broker":"b-…"`, whatever else changed, as after an answer that was lost.
 */

export const acquireLease = defineScript(2, ACQUIRE_LEASE);
export const renewLease = defineScript(2, RENEW_LEASE);
export const raiseEpoch = defineScript(2, RAISE_EPOCH);
export const releaseLease = defineScript(1, RELEASE_LEASE);
