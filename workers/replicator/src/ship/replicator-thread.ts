import { randomUUID } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { OnewriterError, toWireError } from '@onewriter/protocol';
import { Keyring } from '../format/keyring.ts';
import { openStore } from '../store/open-store.ts';
import type { FromReplicator, ReplicatorData, ToReplicator } from './messages.ts';
import { readFullInProcess } from './read-full.ts';
import { Shipper } from './shipper.ts';

// The entry file of the thread that stores what the writer threads capture.

const data = workerData as ReplicatorData;
const port = parentPort!;

async function open(): Promise<Shipper> {
  const [url, ...others] = data.urls;
  if (url === undefined || others.length > 0) {
    throw new OnewriterError('MISCONFIGURED', 'ONEWRITER_REPLICA_URL must name one store.');
  }
  const store = await openStore(url);
  const masterKeys = data.masterKey?.split(',') ?? [];
  const keys = new Keyring({ masterKeys, keys: data.keys, store });
  return new Shipper({
    ...{ data, store, keys, instance: randomUUID(), post },
    readFull: readFullInProcess(data, url),
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
