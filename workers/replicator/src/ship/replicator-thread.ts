import { randomUUID } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { jobLimits } from '@onewriter/files';
import { LIMITS, nameThread, OnewriterError, toWireError } from '@onewriter/protocol';
import { compactInProcess } from '../compact/compact-in-process.ts';
import { Keyring } from '../format/keyring.ts';
import { copyBranchInProcess } from '../snapshot/copy-branch.ts';
import { openStore } from '../store/open-store.ts';
import { verifyTenant } from '../verify/verify-tenant.ts';
import type { ReadFull } from './full-queue.ts';
import type { FromReplicator, ReplicatorData, ToReplicator } from './messages.ts';
import { readFullInProcess } from './read-full.ts';
import { Shipper } from './shipper.ts';

/** Of a process that restores for a test; `verifyTenant` gives it more where it needs more. */
const VERIFY_MEMORY_BYTES = 512 * 1024 * 1024;

// The entry file of the thread that stores what the writer threads capture.

const data = workerData as ReplicatorData;
const port = parentPort!;

/** The other threads of this process need its file system, too. */
const CALLS_AT_A_TIME = 2;

nameThread('replicator');

async function open(): Promise<Shipper> {
  const { dataDir, dbFile, group, keys, masterKey, retentionMs, rehearsals } = data;
  const [url, ...others] = data.urls;
  if (url === undefined) throw new OnewriterError('MISCONFIGURED', 'ONEWRITER_REPLICA_URL names no store.');
  const place = { dataDir, dbFile, group, busyTimeoutMs: LIMITS.busyTimeoutMs };
  const access = { url, keys, masterKeys: masterKey?.split(',') ?? [] };
  const store = await openStore(url, process.env, CALLS_AT_A_TIME);
  const limits = jobLimits(place, VERIFY_MEMORY_BYTES);
  const keyring = new Keyring({ ...access, store });
  const withNewKeys =
    (read: ReadFull): ReadFull =>
    async (tenant, pos, signal) => {
      const full = await read(tenant, pos, signal);
      // That of a tenant of its name before may be erased.
      keyring.forget(tenant);
      return full;
    };
  return new Shipper({
    ...{ data, store, keys: keyring, instance: randomUUID(), post },
    copies: await Promise.all(others.map(other => openStore(other, process.env, CALLS_AT_A_TIME))),
    readFull: withNewKeys(readFullInProcess(place, access)),
    copyBranch: withNewKeys(copyBranchInProcess(place, access)),
    compact: (term, signal, elapsedMs) => {
      const known = { elapsedMs, tenantKeys: keyring.known() };
      return compactInProcess({ ...known, place, access, term, retentionMs, signal });
    },
    verify: rehearsals
      ? (tenant, signal) => verifyTenant({ place, access, tenant, limits, priority: 'low', signal })
      : undefined,
    // An error that no one handles ends the thread.
    onFatal: error => void setImmediate(() => Promise.reject(error)),
  });
}

function post(message: FromReplicator): void {
  port.postMessage(message);
  // Nothing keeps the thread then.
  if (message.kind === 'ended') port.close();
}

/** What comes before the store is open. */
const early: ToReplicator[] = [];
let receive = (message: ToReplicator): void => void early.push(message);
port.on('message', (message: ToReplicator) => receive(message));

try {
  const shipper = await open();
  receive = message => shipper.receive(message);
  for (const message of early) receive(message);
  await shipper.start();
} catch (error) {
  const { code, message } = toWireError(error);
  receive = ({ kind }) => {
    if (kind === 'end') post({ kind: 'ended' });
  };
  for (const each of early) receive(each);
  post({ kind: 'refused', code, message });
}
