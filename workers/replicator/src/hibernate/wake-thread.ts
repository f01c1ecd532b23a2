import { workerData } from 'node:worker_threads';
import type { DataPlace } from '@onewriter/files';
import { type OpenReplica, openReplica, type ReplicaAccess } from '../jobs/replica-access.ts';
import { type WakeRequest, type WokenTenant, wakeTenant } from './wake-tenant.ts';

// The entry file of the broker's threads that bring tenants back: a process would take longer to start than a small file takes to come.

/** What such a thread is started with. */
export interface WakeThreadData {
  readonly place: DataPlace;
  readonly access: ReplicaAccess;
}

const { place, access } = workerData as WakeThreadData;
/** Its connections stay open for the next one. */
let replica: Promise<OpenReplica> | undefined;

export default async function wake(request: WakeRequest): Promise<WokenTenant | undefined> {
  replica ??= openReplica(access);
  const opened = replica;
  try {
    return await wakeTenant(await opened, place, request);
  } catch (error) {
    // One that could not be opened is opened again.
    opened.catch(() => {
      if (replica === opened) replica = undefined;
    });
    throw error;
  }
}
