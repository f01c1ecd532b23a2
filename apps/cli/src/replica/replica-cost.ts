import { PACKS_OF_LEVEL } from '@onewriter/replicator';

/*
 * What a replica costs a month. Requests follow from the layout of the store: one pack an interval for all tenants, packs of packs made of
 * those, no LIST. Bytes are bounded from above: larger packs keep each page once, so they are smaller than assumed here.
 */

/** What is written. */
export interface ReplicaLoad {
  readonly tenants: number;
  /** Commits a second, of each tenant. */
  readonly commitsPerSecond: number;
  /** What a commit is in the store. */
  readonly bytesPerCommit: number;
  /** A tenant's file as it is stored. */
  readonly fileBytes: number;
  readonly intervalMs: number;
  readonly retentionDays: number;
  /** Whether each tenant is restored for a test once a day. */
  readonly rehearsals: boolean;
}

/** Dollars. */
export interface ReplicaPrices {
  /** For 1,000 PUT requests. */
  readonly puts: number;
  /** For 1,000 GET requests. */
  readonly gets: number;
  /** For a GB (10⁹ bytes) and month. */
  readonly storage: number;
}

/** Of AWS S3 Standard in us-east-1, November 2026. */
export const PRICES: ReplicaPrices = Object.freeze({ puts: 0.005, gets: 0.0004, storage: 0.023 });

/** A month. */
export interface ReplicaCost {
  readonly tenants: number;
  readonly puts: number;
  readonly gets: number;
  readonly storedBytes: number;
  readonly requestsDollars: number;
  readonly storageDollars: number;
  readonly dollars: number;
}

const DAY_S = 86_400;
const MONTH_S = 30 * DAY_S;
/** Days that packs of levels 0 to 2 are kept; those of level 3 as long as the history. */
const DAYS_OF_LEVEL = [1, 3, 7] as const;
/** A chain of so many bytes, or half the file where that is more, gets a new beginning. */
const MIN_CHAIN_BYTES = 1024 * 1024;
const PART_BYTES = 32 * 1024 * 1024;
/** At most one begins in so many seconds. */
const REHEARSAL_EVERY_S = 10;
/** GETs of one, at most about: half of 31 packs of each level behind the catalogue, their indexes and then their bodies, and a few more. */
const GETS_OF_REHEARSAL = 100;

/** What a load costs a month. */
export function replicaCost(load: ReplicaLoad, prices: ReplicaPrices = PRICES): ReplicaCost {
  const { tenants, commitsPerSecond, bytesPerCommit, fileBytes, intervalMs, retentionDays, rehearsals } =
    load;
  const commits = tenants * commitsPerSecond;
  // Without a commit in an interval there is no pack.
  const packsPerSecond = Math.min(1_000 / intervalMs, commits);
  const [packs, first, second, third] = PACKS_OF_LEVEL.map(size => (packsPerSecond * MONTH_S) / size) as [
    number,
    number,
    number,
    number,
  ];
  const chainBytes = Math.max(MIN_CHAIN_BYTES, fileBytes / 2);
  const beginnings = tenants * ((commitsPerSecond * MONTH_S * bytesPerCommit) / chainBytes);
  const parts = beginnings * Math.ceil(fileBytes / PART_BYTES);
  // A larger pack is one PUT, and its place in head.json another; with the largest a catalogue is written.
  const puts = packs + 2 * (first + second + third) + third + parts;
  // Each pack is read once, by the next level, and head.json each time.
  const compacting = packs + first + second + first + second + third + parts;
  const restores = rehearsals ? (Math.min(tenants, DAY_S / REHEARSAL_EVERY_S) * MONTH_S) / DAY_S : 0;
  const gets = compacting + restores * (GETS_OF_REHEARSAL + Math.floor(fileBytes / PART_BYTES));
  const days = DAYS_OF_LEVEL.reduce((sum, kept) => sum + Math.min(kept, retentionDays), retentionDays);
  const storedBytes = commits * bytesPerCommit * DAY_S * days + 2 * tenants * fileBytes;
  const requestsDollars = (puts / 1_000) * prices.puts + (gets / 1_000) * prices.gets;
  const storageDollars = (storedBytes / 1e9) * prices.storage;
  return {
    ...{ tenants, puts: Math.round(puts), gets: Math.round(gets), storedBytes: Math.round(storedBytes) },
    ...{ requestsDollars, storageDollars, dollars: requestsDollars + storageDollars },
  };
}
