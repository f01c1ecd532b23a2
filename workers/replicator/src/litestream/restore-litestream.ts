import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { ListedObject, ObjectStore } from '../store/object-store.ts';
import { expandFrame } from './lz4-frame.ts';

/*
 * Restores what Litestream 0.3 stored:
 *
 *   generations/<id>/snapshots/<index>.snapshot.lz4      the file as it was when log <index> was begun
 *   generations/<id>/wal/<index>_<offset>.wal.lz4        pieces of each log
 *
 * Each log is put together beside the file, and SQLite itself writes it back, as at every opening after a crash: it checks the
 * frames, and stops at the last commit.
 */

const SNAPSHOT = /^generations\/([0-9a-f]{16})\/snapshots\/([0-9a-f]{8})\.snapshot\.lz4$/;
const PIECE = /^generations\/([0-9a-f]{16})\/wal\/([0-9a-f]{8})_([0-9a-f]{8})\.wal\.lz4$/;
/** Read at a time, bytes. */
const READ_BYTES = 8 * 1024 * 1024;
/** Litestream's own, without meaning in a file that it does not replicate. */
const DROP_ITS_TABLES = 'DROP TABLE IF EXISTS _litestream_seq; DROP TABLE IF EXISTS _litestream_lock;';

export interface LitestreamRequest {
  readonly store: ObjectStore;
  /** Path of the file that is made; there must be none. */
  readonly draft: string;
  /** Nothing that was stored later, ms since the epoch; default: all. */
  readonly atMs?: number | undefined;
  /** Default: the one that was written last. */
  readonly generation?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes of the store that are read, and all of them. */
  readonly onProgress?: ((done: number, all: number) => void) | undefined;
}

export interface LitestreamRestore {
  readonly generation: string;
  /** When the last of its files was stored, ms since the epoch: to a second as new as the database. */
  readonly storedMs: number;
  readonly logs: number;
  /** Bytes that were read. */
  readonly bytes: number;
}

interface Snapshot extends ListedObject {
  readonly index: number;
}

interface Piece extends Snapshot {
  readonly offset: number;
}

interface Generation {
  readonly id: string;
  readonly snapshots: Snapshot[];
  readonly pieces: Piece[];
}

/**
 * Makes a file out of the newest snapshot and the logs after it. To be called in a process of its own: SQLite reads what the store has.
 * @throws OnewriterError NOT_FOUND where there is none; REPLICA_REFUSED where it has a hole or is damaged; REPLICA_… of the store
 */
export async function restoreLitestream(request: LitestreamRequest): Promise<LitestreamRestore> {
  const { draft, onProgress } = request;
  const { id, snapshots, pieces } = await chooseGeneration(request);
  const snapshot = snapshots.at(-1)!;
  const logs = logsAfter(snapshot, pieces);
  const objects = [snapshot, ...logs.flat()];
  const all = objects.reduce((sum, { size }) => sum + size, 0);
  let bytes = 0;
  const read = (object: ListedObject) =>
    readObject(request, object, length => {
      bytes += length;
      onProgress?.(bytes, all);
    });
  await writeFile(draft, [{ ...snapshot, offset: 0 }], read);
  for (const log of logs) {
    await writeFile(`${draft}-wal`, log, read);
    writeBack(draft);
  }
  const db = new Database(draft);
  try {
    db.exec(DROP_ITS_TABLES);
    db.pragma('wal_checkpoint(TRUNCATE)');
  } finally {
    db.close();
  }
  const storedMs = Math.max(...objects.map(({ modifiedMs }) => modifiedMs));
  return { generation: id, storedMs, logs: logs.length, bytes };
}

async function chooseGeneration({ store, atMs, generation, signal }: LitestreamRequest): Promise<Generation> {
  const found = new Map<string, Generation>();
  const limit = atMs ?? Number.POSITIVE_INFINITY;
  const generationOf = (id: string) => {
    const known = found.get(id) ?? { id, snapshots: [], pieces: [] };
    found.set(id, known);
    return known;
  };
  for await (const object of store.list('generations/', { signal })) {
    if (object.modifiedMs > limit) continue;
    const snapshot = SNAPSHOT.exec(object.key);
    if (snapshot) generationOf(snapshot[1]!).snapshots.push({ ...object, index: hex(snapshot[2]!) });
    const piece = PIECE.exec(object.key);
    if (piece)
      generationOf(piece[1]!).pieces.push({ ...object, index: hex(piece[2]!), offset: hex(piece[3]!) });
  }
  const usable = [...found.values()].filter(({ snapshots }) => snapshots.length > 0);
  const chosen =
    generation === undefined
      ? usable.sort((one, other) => newestOf(one) - newestOf(other)).at(-1)
      : usable.find(({ id }) => id === generation);
  if (chosen !== undefined) return chosen;
  const at = atMs === undefined ? '' : ` of ${new Date(atMs).toISOString()} or before`;
  throw new OnewriterError(
    'NOT_FOUND',
    `${store.address} has no Litestream 0.3 snapshot${generation === undefined ? '' : ` of generation ${generation}`}${at}; there must be generations/<id>/snapshots/ below it.`,
  );
}

function newestOf({ snapshots, pieces }: Generation): number {
  return Math.max(...[...snapshots, ...pieces].map(({ modifiedMs }) => modifiedMs));
}

/** The pieces of each log from the snapshot's on, in order. @throws OnewriterError REPLICA_REFUSED for a hole */
function logsAfter(snapshot: Snapshot, pieces: readonly Piece[]): Piece[][] {
  const logs: Piece[][] = [];
  for (const piece of pieces) {
    if (piece.index < snapshot.index) continue;
    const place = piece.index - snapshot.index;
    if (place > logs.length || (place === logs.length && piece.offset !== 0)) throw hole(piece);
    if (place === logs.length) logs.push([]);
    else if (place < logs.length - 1) throw hole(piece);
    logs[place]!.push(piece);
  }
  return logs;
}

function hole({ key }: ListedObject): OnewriterError {
  return new OnewriterError(
    'REPLICA_REFUSED',
    `The Litestream replica has a hole before ${key}. Restore with --at a time before it.`,
    { reason: 'hole', key },
  );
}

async function* readObject(
  { store, signal }: LitestreamRequest,
  { key, size }: ListedObject,
  onRead: (bytes: number) => void,
): AsyncIterable<Buffer> {
  for (let from = 0; from < size; from += READ_BYTES) {
    const range = { from, length: Math.min(READ_BYTES, size - from) };
    const found = await store.get(key, { range, signal });
    if (found === undefined)
      throw new OnewriterError('NOT_FOUND', `${key} was removed from the store meanwhile: start again.`);
    onRead(found.body.length);
    yield found.body;
  }
}

async function writeFile(
  path: string,
  pieces: readonly Piece[],
  read: (piece: Piece) => AsyncIterable<Buffer>,
): Promise<void> {
  const file = openSync(path, 'w', 0o600);
  let length = 0;
  try {
    for (const piece of pieces) {
      if (piece.offset !== length) throw hole(piece);
      for await (const plain of expandFrame(read(piece))) {
        writeAll(file, plain);
        length += plain.length;
      }
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function writeAll(file: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}

function writeBack(draft: string): void {
  // Of the log before.
  rmSync(`${draft}-shm`, { force: true });
  const db = new Database(draft, { fileMustExist: true });
  try {
    const [row] = db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
    if (row?.busy !== 0) throw new OnewriterError('DATABASE_BUSY', `Another process has ${draft} open.`);
  } finally {
    db.close();
  }
}

function hex(digits: string): number {
  return Number.parseInt(digits, 16);
}
