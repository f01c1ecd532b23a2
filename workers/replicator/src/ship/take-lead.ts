import { OnewriterError, readFormerIdentity } from '@onewriter/protocol';
import { readState } from '../chain/replica-state.ts';
import { ChainState } from '../format/chain-state.ts';
import type { PackIndex } from '../format/entry.ts';
import { encodePack } from '../format/pack.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { fenced, PACKS_UNDER_WAY, putOrRead } from './pack-writer.ts';

/*
 * A start raises the term of the store by compare-and-set, reads what is stored, and takes the next numbers of packs, so that a former
 * leader finds none that is free: whatever it still sends is refused, or void for all readers.
 */

export const LEADER_KEY = 'leader.json';
/** Tries to raise the term against others that do so at the same moment. */
const MAX_TRIES = 5;

/** As stored in `leader.json`. */
export interface LeaderRecord {
  readonly format: 1;
  readonly term: number;
  /** Identity of the data directory whose tenants are stored. */
  readonly dataDirId: string;
  /** Of the start of the replicator. */
  readonly instance: string;
  /** ISO time. */
  readonly at: string;
}

export interface LeadOptions {
  readonly dataDir: string;
  readonly dataDirId: string;
  /** Unique for this start. */
  readonly instance: string;
  readonly nowMs: number;
  readonly signal: AbortSignal;
}

export interface Lead {
  readonly term: number;
  /** Number of the first pack that is free. */
  readonly next: number;
  /** All tenants that the store has, deleted ones too. */
  readonly tenants: ReadonlyMap<string, ChainState>;
}

/**
 * @throws OnewriterError REPLICA_REFUSED where the store belongs to another data directory; REPLICA_FENCED where another one starts at
 * this moment; REPLICA_UNAVAILABLE
 */
export async function takeLead(store: ObjectStore, options: LeadOptions): Promise<Lead> {
  const { signal } = options;
  const { term, isFirst } = await raiseTerm(store, options);
  const state = await readState(store, { signal });
  if (state.term > term) throw fenced(state.term);
  if (isFirst && state.next > 1) throw withoutLeader(store.address);
  const tenants = new Map(state.tenants);
  let highest = state.term;
  let number = state.next;
  for (;;) {
    const found = await putOrRead(store, number, emptyPack(number, term, options.nowMs), signal);
    if (found === undefined) break;
    if (found.term > term) throw fenced(found.term);
    // A former leader stored it after the state was read, before this start had a pack: it counts.
    if (found.term >= highest) addPack(tenants, found);
    highest = Math.max(highest, found.term);
    number++;
  }
  const next = number + PACKS_UNDER_WAY;
  for (number++; number < next; number++) {
    const found = await putOrRead(store, number, emptyPack(number, term, options.nowMs), signal);
    // One of a lower term has a pack of this term before it, and is void.
    if (found !== undefined && found.term > term) throw fenced(found.term);
  }
  return { term, next, tenants };
}

async function raiseTerm(
  store: ObjectStore,
  { dataDir, dataDirId, instance, nowMs, signal }: LeadOptions,
): Promise<{ readonly term: number; readonly isFirst: boolean }> {
  let isFirst = false;
  for (let tries = 1; tries <= MAX_TRIES; tries++) {
    const found = await store.get(LEADER_KEY, { signal });
    const present = found && parseLeader(found.body);
    // The reply of the try before was lost.
    if (present?.instance === instance) return { term: present.term, isFirst };
    if (present !== undefined && present.dataDirId !== dataDirId) {
      assertMadeFrom(store.address, dataDir, present.dataDirId);
    }
    isFirst = present === undefined;
    const term = (present?.term ?? 0) + 1;
    const record: LeaderRecord = {
      format: 1,
      ...{ term, dataDirId, instance },
      at: new Date(nowMs).toISOString(),
    };
    const put = await store.put(LEADER_KEY, Buffer.from(JSON.stringify(record)), {
      condition: found === undefined ? { kind: 'new' } : { kind: 'etag', etag: found.etag },
      signal,
    });
    if (put.kind === 'stored') return { term, isFirst };
  }
  throw new OnewriterError(
    'REPLICA_UNAVAILABLE',
    `${LEADER_KEY} of ${store.address} changes all the time: several brokers start with this store.`,
  );
}

function parseLeader(body: Buffer): LeaderRecord {
  let record: Partial<LeaderRecord>;
  try {
    record = JSON.parse(body.toString()) as Partial<LeaderRecord>;
  } catch {
    record = {};
  }
  const { format, term, dataDirId } = record;
  if (format !== 1 || !Number.isSafeInteger(term) || typeof dataDirId !== 'string') {
    throw new OnewriterError(
      'REPLICA_REFUSED',
      `${LEADER_KEY} of the replica is damaged, or of a newer version.`,
    );
  }
  return record as LeaderRecord;
}

/** @throws OnewriterError REPLICA_REFUSED unless this directory was made from what the other one stored there */
function assertMadeFrom(address: string, dataDir: string, dataDirId: string): void {
  if (readFormerIdentity(dataDir) === dataDirId) return;
  throw new OnewriterError(
    'REPLICA_REFUSED',
    `${address} has the replica of another data directory (${dataDirId.slice(0, 8)}). Give this one a prefix of its own in ` +
      `ONEWRITER_REPLICA_URL; or, where the other one is gone, make this one from it: onewriter restore --all --from ${address}.`,
    { reason: 'another data directory' },
  );
}

function withoutLeader(address: string): OnewriterError {
  return new OnewriterError(
    'REPLICA_REFUSED',
    `${address} has packs, but no ${LEADER_KEY}: it was changed by others. Use another prefix in ONEWRITER_REPLICA_URL.`,
    { reason: 'no leader' },
  );
}

function emptyPack(number: number, term: number, nowMs: number): Buffer {
  return encodePack({ level: 0, number, term, writtenAtMs: nowMs }, []).bytes;
}

function addPack(tenants: Map<string, ChainState>, { level, number, entries }: PackIndex): void {
  for (const entry of entries) {
    const chain = tenants.get(entry.tenant) ?? new ChainState();
    tenants.set(entry.tenant, chain);
    chain.add({ pack: { level, number }, entry });
  }
}
