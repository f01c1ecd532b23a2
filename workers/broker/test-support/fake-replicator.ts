/** A thread in the replicator's place: says what it got in its status, and stores nothing. A deletion ends 1,000 commits. */
export interface FakeReplicatorStatus {
  /** What came from the broker itself. */
  readonly notes: readonly string[];
  /** What came over ports: tenant, kind and commits of each message. */
  readonly captured: readonly { readonly tenant: string; readonly kind: string; readonly seqs: number[] }[];
}

/** How a fake behaves at a start. */
export interface FakeReplicatorOptions {
  /** Messages that it sends at once instead of `started`. */
  readonly first?: readonly object[] | undefined;
  /** Whether it ends when it is asked to. Default: true. */
  readonly ends?: boolean | undefined;
}

/** Its entry file. A note about the tenant `die` ends it with an error. */
export function fakeReplicatorUrl(options: FakeReplicatorOptions = {}): URL {
  const source = `
    import { parentPort, workerData } from 'node:worker_threads';
    const options = ${JSON.stringify(options)};
    const cells = new BigInt64Array(workerData.room);
    const notes = [], captured = [], ports = [], changes = new Map();
    const store = upTo => parentPort.postMessage({ kind: 'stored', upTo: [upTo], atMs: Date.now() });
    const report = () => parentPort.postMessage({ kind: 'status', status: { notes, captured } });
    parentPort.on('message', message => {
      if (message.kind === 'port') {
        ports.push(message.port);
        message.port.on('message', piece => {
          const seqs = (piece.commits ?? []).map(commit => commit.commitSeq);
          captured.push({ tenant: piece.tenant, kind: piece.kind, seqs });
          if (piece.kind === 'log') {
            Atomics.sub(cells, 0, BigInt(piece.frames.byteLength));
            const last = piece.commits.at(-1);
            const { commitSeq, epoch } = last;
            store({ tenant: piece.tenant, pos: captured.length, commitSeq, epoch, change: changes.get(piece.tenant) });
          }
          report();
        });
      } else if (message.kind === 'end') {
        if (options.ends !== false) parentPort.postMessage({ kind: 'ended' });
      } else if (message.tenant === 'die') throw new Error('died as it was asked to');
      else if (message.tenant === 'ask') for (const port of ports) port.postMessage({ kind: 'capture', done: 0n });
      else {
        const { kind, tenant, change } = message;
        notes.push(kind + ' ' + tenant);
        if (change !== undefined) changes.set(tenant, change);
        if (kind === 'deleted') {
          // A pack of before arrives late.
          store({ tenant, pos: 9, commitSeq: 1000, epoch: 1 });
          store({ tenant, pos: 9, commitSeq: 0, epoch: 0, change });
        }
        report();
      }
    });
    for (const message of options.first ?? [{ kind: 'started', known: ['old'], branches: [] }]) parentPort.postMessage(message);
  `;
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}
