import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import { tenantFile } from '@onewriter/protocol';
import { type SpawnedProcess, spawnProcess, waitFor } from '@onewriter/testkit';
import type { Fault, RoundContext } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { sizeOf } from '../machine.ts';
import { RECOVERY_MS } from '../rig.ts';

/** Reads a tenant's file as of one moment, until it is killed. */
const READER = `
  const Database = require(process.argv[1]);
  const db = new Database(process.argv[2], { readonly: true });
  db.exec('BEGIN');
  db.prepare('SELECT count(*) FROM log').get();
  process.send({ type: 'reading' });
  setInterval(() => db.prepare('SELECT count(*) FROM log').get(), 50);
`;

/** Iterates with the SDK, which lets it hold so much of the log, and fetches one row. */
const ITERATION = `
  const [sdk, redis, dataDir, tenant, bound] = process.argv.slice(1);
  const { connect } = await import(sdk);
  const onewriter = await connect({ redis, dataDir, maxSnapshotLogBytes: Number(bound) });
  const rows = onewriter.tenant(tenant).prepare('SELECT * FROM log').iterate();
  await rows.next();
  process.send({ type: 'reading' });
  process.on('SIGUSR2', () => rows.next().then(() => 'none', error => error.code).then(code => process.send({ type: 'ended', code })));
`;
const SNAPSHOT_BYTES = 24 * 1024 * 1024;
/** What a commit and a second between two looks may add. */
const MAX_HELD_BYTES = SNAPSHOT_BYTES + 24 * 1024 * 1024;
/** What the writer leaves of a log that was held. */
const KEPT_BYTES = 17 * 1024 * 1024;

/**
 * No reader: a checkpoint comes every 4 MB (1,000 pages) at the latest and the WAL is reset, so its file grows no
 * more.
 */
const WATCHED_MS = 3_000;
const MAX_GROWTH_BYTES = 6 * 1024 * 1024;

/** Readers in other processes hold the WAL for long, and are killed in the middle of it. */
export const longReaders: Fault = {
  name: 'long-readers',
  summary:
    'Readers in other processes hold snapshots and are killed (-9) during checkpoints: the WAL stays bounded afterwards, is cut, and its holder is named; an iteration of the SDK is ended.',
  rig: {
    tenants: 3,
    clients: [
      { concurrency: 256, pauseMs: 0 },
      { concurrency: 256, pauseMs: 0 },
    ],
  },
  rounds: 10,
  roundsPerRig: 5,
  async round({ rig, random, say, measure }) {
    const files = rig.tenants.map(tenant => tenantFile(rig.dataDir, tenant));
    const readers: SpawnedProcess[] = [];
    let largest = 0;
    try {
      const until = performance.now() + random.between(2_000, 6_000);
      while (performance.now() < until) {
        if (readers.length < 4) readers.push(await startReader(random.pick(files)));
        else await kill(readers.splice(random.integer(readers.length), 1)[0]!);
        await pause(random.between(50, 400));
        largest = Math.max(largest, ...files.map(file => sizeOf(`${file}-wal`)));
      }
    } finally {
      await Promise.all(readers.map(kill));
    }
    measure('MB of the largest WAL while readers held it', largest / 1024 / 1024);
    await rig.awaitRecovery();
    const sizes = files.map(file => sizeOf(`${file}-wal`));
    await pause(WATCHED_MS);
    const grown = Math.max(...files.map((file, index) => sizeOf(`${file}-wal`) - sizes[index]!));
    if (grown > MAX_GROWTH_BYTES) {
      throw new FaultFailure(
        `A WAL grew by ${Math.round(grown / 1024 / 1024)} MB in ${WATCHED_MS} ms without a reader.`,
      );
    }
    say(
      `largest WAL ${Math.round(largest / 1024 / 1024)} MB, grown afterwards ${Math.round(grown / 1024)} KB`,
    );
  },
  async afterRounds(context) {
    await assertNamed(context);
    await assertEnded(context);
  },
};

/** An iteration whose rows are not fetched holds a bounded part of the log, and the log is cut afterwards. */
async function assertEnded({ rig, say, measure }: RoundContext): Promise<void> {
  const tenant = rig.tenants[0]!;
  const wal = `${tenantFile(rig.dataDir, tenant)}-wal`;
  await awaitCut(wal);
  const sdk = import.meta.resolve('@onewriter/sdk');
  const args = [sdk, rig.redis.url, rig.dataDir, tenant, String(SNAPSHOT_BYTES)];
  const reader = await spawnProcess(process.execPath, ['--input-type=module', '-e', ITERATION, ...args], {
    ipc: true,
  });
  let largest = 0;
  try {
    await waitFor(() => reader.messages.length > 0, {
      timeoutMs: RECOVERY_MS,
      what: 'an iteration',
      intervalMs: 5,
    });
    await waitFor(
      () => {
        const size = sizeOf(wal);
        const shrank = size < largest;
        largest = Math.max(largest, size);
        return shrank && largest >= SNAPSHOT_BYTES;
      },
      { timeoutMs: NAMED_MS, what: 'the iteration to be ended and the log to be cut', intervalMs: 20 },
    );
    reader.kill('SIGUSR2');
    await waitFor(() => reader.messages.length > 1, {
      timeoutMs: RECOVERY_MS,
      what: 'its end',
      intervalMs: 5,
    });
    const { code } = reader.messages[1] as { code?: string };
    if (code !== 'SNAPSHOT_ENDED') throw new FaultFailure(`The iteration ended with ${code}.`);
  } finally {
    await kill(reader);
  }
  measure('MB of the WAL behind an iteration of the SDK', largest / 1024 / 1024);
  if (largest > MAX_HELD_BYTES) {
    throw new FaultFailure(`An iteration held ${Math.round(largest / 1024 / 1024)} MB of the log.`);
  }
  await awaitCut(wal);
  say(`an iteration was ended at ${Math.round(largest / 1024 / 1024)} MB`);
}

async function awaitCut(wal: string): Promise<void> {
  await waitFor(() => sizeOf(wal) <= KEPT_BYTES, {
    timeoutMs: NAMED_MS,
    what: 'the log to be cut',
    intervalMs: 100,
  });
}

/** The operator can find the process. */
async function assertNamed({ rig, say }: RoundContext): Promise<void> {
  const [broker] = rig.brokers;
  const reader = await startReader(tenantFile(rig.dataDir, rig.tenants[0]!));
  try {
    await waitFor(() => new RegExp(`"readers":\\[[^\\]]*"pid":${reader.pid}\\b`).test(broker!.logs()), {
      timeoutMs: NAMED_MS,
      what: `process ${reader.pid} to be named in the broker's log`,
      intervalMs: 200,
    });
    // The metric is of the status, which is made every second.
    await waitFor(async () => (await heldTenants(broker!.url)) > 0, {
      timeoutMs: NAMED_MS,
      what: 'the metric to show a held WAL',
      intervalMs: 200,
    });
  } finally {
    await kill(reader);
  }
  await waitFor(async () => (await heldTenants(broker!.url)) === 0, {
    timeoutMs: NAMED_MS,
    what: 'the metric to show no held WAL any more',
    intervalMs: 200,
  });
  say('the reader is named in log and metric');
}

/** A WAL has to grow to 16 MB before a reader is blamed for it. */
const NAMED_MS = 60_000;

async function heldTenants(url: string): Promise<number> {
  const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) });
  return Number(/^onewriter_wal_held_tenants (\d+)/m.exec(await response.text())?.[1] ?? Number.NaN);
}

async function startReader(file: string): Promise<SpawnedProcess> {
  const database = createRequire(import.meta.url).resolve('better-sqlite3');
  const reader = await spawnProcess(process.execPath, ['-e', READER, database, file], { ipc: true });
  await waitFor(() => reader.messages.length > 0, {
    timeoutMs: RECOVERY_MS,
    what: 'a reader',
    intervalMs: 5,
  });
  return reader;
}

async function kill(reader: SpawnedProcess): Promise<void> {
  reader.kill('SIGKILL');
  await reader.exited;
}
