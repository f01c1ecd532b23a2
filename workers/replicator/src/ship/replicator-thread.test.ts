import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { MessageChannel, Worker } from 'node:worker_threads';
import { tenantFile } from '@onewriter/protocol';
import { startS3, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { CaptureRoom } from '@onewriter/writer';
import { expect, onTestFinished, test } from 'vitest';
import { CapturedFile } from '../../test-support/captured-file.ts';
import {
  type FromReplicator,
  Keyring,
  type ObjectStore,
  openReplicaReader,
  openStore,
  type ReplicatorData,
  replicatorThreadUrl,
  restoreToFile,
  type ToReplicator,
} from '../index.ts';

/* The thread that stores what is captured, as the broker starts it. */

const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a)';
const INSERT = 'INSERT INTO t(a) VALUES (hex(randomblob(300)))';
/** Some MiB: stored in parts. */
const LARGE = `WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1500)
  INSERT INTO t(a) SELECT randomblob(3000) FROM n`;

async function startThread(
  data: Omit<ReplicatorData, 'room' | 'dbFile' | 'group' | 'retentionMs' | 'rehearsals'>,
) {
  const messages: FromReplicator[] = [];
  const files: CapturedFile[] = [];
  const room = CaptureRoom.create(256 * 1024 * 1024).buffer;
  const workerData: ReplicatorData = {
    ...data,
    room,
    dbFile: 'tenant.db',
    group: 'main',
    retentionMs: 86_400_000,
    rehearsals: true,
  };
  const worker = new Worker(replicatorThreadUrl, { workerData });
  const errors: unknown[] = [];
  worker.on('message', (message: FromReplicator) => messages.push(message));
  worker.on('error', error => errors.push(error));
  const { port1, port2 } = new MessageChannel();
  port2.on('message', () => {
    for (const file of files) file.capture();
  });
  const send = (message: ToReplicator) =>
    worker.postMessage(message, message.kind === 'port' ? [message.port] : []);
  send({ kind: 'port', port: port1 });
  onTestFinished(async () => {
    await worker.terminate();
    port2.close();
    for (const file of files) if (file.isOpen) file.kill();
  });
  const of = <K extends FromReplicator['kind']>(kind: K) =>
    messages.filter(message => message.kind === kind) as Extract<FromReplicator, { kind: K }>[];
  const open = (tenant: string) => {
    const file = new CapturedFile(tenant, tenantFile(data.dataDir, tenant, 'tenant.db'), message =>
      port2.postMessage(message, message.kind === 'log' ? [message.frames] : []),
    );
    files.push(file);
    return file;
  };
  const exit = new Promise<number>(resolve => worker.once('exit', resolve));
  return { send, of, open, errors, exit };
}

test('stores encrypted what is captured and files that are large, and restores it', async () => {
  await using s3 = await startS3();
  Object.assign(process.env, s3.env);
  onTestFinished(() => {
    for (const name of Object.keys(s3.env)) delete process.env[name];
  });
  const folder = await temporaryDirectory('replicator');
  onTestFinished(folder.remove);
  const copyFolder = await temporaryDirectory('replica-copy');
  onTestFinished(copyFolder.remove);
  const masterKey = Buffer.alloc(32, 7).toString('base64');
  const data = {
    urls: [s3.url, `file://${copyFolder.path}`],
    dataDir: folder.path,
    dataDirId: 'directory-1',
    intervalMs: 50,
    masterKey,
    keys: 'tenant' as const,
  };
  const thread = await startThread(data);
  await waitFor(() => thread.of('started').length === 1, { what: 'the start' });

  const acme = thread.open('acme');
  acme.commit(CREATE);
  acme.commit(INSERT);
  const large = thread.open('large');
  large.commit(CREATE);
  large.commit(LARGE);
  await waitFor(() => thread.of('stored').some(({ upTo }) => upTo.some(({ tenant }) => tenant === 'large')), {
    what: 'the large tenant to be stored',
  });
  // The log of the large one is written back by others: its file is read whole, in a process of its own.
  thread.send({ kind: 'replaced', tenant: 'large' });
  large.commit(INSERT);
  await waitFor(async () => (await s3.keys()).some(key => key.includes('snapshots/large/')), {
    what: 'the parts of the large file',
    timeoutMs: 30_000,
  });
  large.commit(INSERT);

  const store = await openStore(s3.url, s3.env);
  onTestFinished(() => store.close());
  let restores = 0;
  const isRestorable = (file: CapturedFile, from: ObjectStore = store) =>
    waitFor(
      async () => {
        const keys = new Keyring({ masterKeys: [masterKey], keys: 'tenant', store: from });
        const reader = openReplicaReader(from, keys);
        const draft = join(folder.path, `restored-${++restores}`);
        await restoreToFile(reader, await reader.plan(file.tenant, { kind: 'newest' }), draft);
        return readFileSync(draft).equals(file.image());
      },
      { what: `${file.tenant} to be stored`, timeoutMs: 20_000, intervalMs: 100 },
    );
  await isRestorable(large);
  await isRestorable(acme);
  expect(statSync(large.path).size).toBeGreaterThanOrEqual(4096);

  // Packs are put together to larger ones, and a further store gets them all.
  for (let writes = 0; !(await s3.keys()).some(key => key.endsWith('packs/1/000000000001.pack')); writes++) {
    expect(writes).toBeLessThan(2_000);
    acme.commit(INSERT);
    acme.capture(true);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
  await isRestorable(acme);
  const copy = await openStore(`file://${copyFolder.path}`);
  onTestFinished(() => copy.close());
  await isRestorable(large, copy);
  await isRestorable(acme, copy);

  const rehearsals = () => thread.of('status').at(-1)?.status.rehearsals;
  await waitFor(() => rehearsals()?.sound === 1, {
    what: 'a tenant to be restored for a test',
    timeoutMs: 30_000,
  });
  expect(rehearsals()).toMatchObject({ unsound: 0, unverified: 1 });

  thread.send({ kind: 'end', withinMs: 5_000 });
  expect(await thread.exit).toBe(0);
  expect(thread.of('ended')).toHaveLength(1);
  expect(thread.errors).toEqual([]);
}, 120_000);

test('refuses an address that is none, and still ends when asked', async () => {
  const folder = await temporaryDirectory('replicator');
  onTestFinished(folder.remove);
  const data = {
    urls: ['ftp://x'],
    dataDir: folder.path,
    dataDirId: 'directory-1',
    intervalMs: 50,
    keys: 'one' as const,
  };
  const thread = await startThread(data);
  await waitFor(() => thread.of('refused').length === 1, { what: 'the refusal' });
  expect(thread.of('refused')[0]).toMatchObject({ code: 'MISCONFIGURED' });
  thread.send({ kind: 'end', withinMs: 5_000 });
  expect(await thread.exit).toBe(0);
}, 30_000);
