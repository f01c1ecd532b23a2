import { closeSync, openSync, readFileSync } from 'node:fs';
import { totalmem } from 'node:os';

/*
 * How many tenants' files a process keeps open. An open tenant costs memory and descriptors, and one that was closed costs
 * several flushes when it is opened again (test/bench/README.md), so a process keeps as many open as it may:
 *
 *   descriptors  ulimit -n, less a reserve for Redis, HTTP and logs
 *   memory       a share of the machine's, or the container's
 *
 * A setting overrides what is chosen here. If descriptors still run out, the process closes the file that it used least
 * recently and tries again: {@link isOutOfDescriptors}. See infra/adr/0036-open-files-from-ulimit-and-memory.md.
 */

/** What a process may use. */
export interface ProcessRoom {
  /** `ulimit -n`. Node raises the soft limit to the hard one when it starts. */
  readonly descriptors: number;
  /** Memory of the machine, or of its container where that is less. */
  readonly memoryBytes: number;
}

/** The database, its log, and the index of the log. */
export const DESCRIPTORS_PER_CONNECTION = 3;
/** Kept free in every Onewriter process for Node, Redis, logs and a few HTTP connections. */
export const RESERVED_DESCRIPTORS = 96;
/** Each writer thread has an event loop, and a note of its current work. */
const DESCRIPTORS_PER_THREAD = 8;
/** A limit that cannot be read, as where there is no /proc. It is macOS's own, of one process. */
const UNKNOWN_DESCRIPTORS = 10_240;

/** What a tenant that is open for writes adds to the process. Measured: 0.36 to 0.4 MB with one small table. */
const WRITER_BYTES = 400 * 1024;
/** The same for reads. Measured: 0.2 MB, and some compiled statements. */
const READER_BYTES = 256 * 1024;
/** Linux allows a process 65,530 mappings, of which an open tenant has one or more for the index of its log. */
const MAX_WRITERS = 16_000;
const MAX_READERS = 8_000;
/** With fewer a lane or client cannot work, whatever the limits say. */
const MIN_OPEN = 4;

/** Further lanes, per lane, that are opened while all others are held up. */
export const SPARE_LANES_PER_LANE = 2;
/** What a spare lane keeps open, against a lane that stays: it is there for some moments. */
const SPARE_SHARE = 1 / 8;
const MAX_SPARE_OPEN = 32;

/** Reads the limits of this process. */
export function readProcessRoom(): ProcessRoom {
  const container = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return {
    descriptors: readDescriptorLimit('self') ?? UNKNOWN_DESCRIPTORS,
    memoryBytes: Math.min(container, totalmem()),
  };
}

/** The soft limit of open files of a process on this machine; undefined where it cannot be read. */
export function readDescriptorLimit(pid: number | 'self'): number | undefined {
  let limits: string;
  try {
    limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
  } catch {
    return undefined;
  }
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1];
  if (soft === undefined) return undefined;
  return soft === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(soft);
}

/** How many files a broker keeps open. */
export interface BrokerOpenFiles {
  /** Tenants that each writer thread keeps open. */
  readonly perLane: number;
  /** The same for a spare lane. */
  readonly perSpareLane: number;
  /** Logs that are kept open to be flushed, of all lanes together, while as many tenants are open as may be. */
  readonly logs: number;
  /** For tenants and logs together: all but the reserve. */
  readonly descriptors: number;
}

/**
 * Chooses how many files a broker keeps open: a quarter of the memory, and all descriptors but the reserve.
 *
 * @param perLane what a setting says instead
 */
export function chooseBrokerOpenFiles(room: ProcessRoom, threads: number, perLane?: number): BrokerOpenFiles {
  const descriptors = room.descriptors - RESERVED_DESCRIPTORS - threads * DESCRIPTORS_PER_THREAD;
  // Logs have descriptors of their own where many tenants are flushed at once; a quarter of the tenants at least.
  const tenants = Math.min(
    descriptors / (DESCRIPTORS_PER_CONNECTION + 0.25),
    room.memoryBytes / 4 / WRITER_BYTES,
    MAX_WRITERS,
  );
  // For a lane that stays and its spare ones.
  const share = tenants / threads;
  const most = Math.max(
    share / (1 + SPARE_LANES_PER_LANE * SPARE_SHARE),
    share - SPARE_LANES_PER_LANE * MAX_SPARE_OPEN,
  );
  const chosen = perLane ?? Math.max(MIN_OPEN, Math.floor(most));
  const perSpareLane = Math.max(1, Math.min(MAX_SPARE_OPEN, Math.floor(chosen * SPARE_SHARE)));
  const open = threads * (chosen + SPARE_LANES_PER_LANE * perSpareLane);
  const left = Math.floor(descriptors - open * DESCRIPTORS_PER_CONNECTION);
  const logs = Math.max(MIN_OPEN, Math.min(open, left));
  return { perLane: chosen, perSpareLane, logs, descriptors: Math.max(0, Math.floor(descriptors)) };
}

/**
 * How many logs a broker may keep open to flush them while so many tenants are open: one for each, where the descriptors that
 * these tenants leave suffice.
 */
export function logsBeside({ logs, descriptors }: BrokerOpenFiles, openTenants: number): number {
  const left = Math.max(logs, descriptors - openTenants * DESCRIPTORS_PER_CONNECTION);
  return Math.max(MIN_OPEN, Math.min(openTenants, left));
}

/** Descriptors that a broker needs to keep so many tenants open, with all their logs. */
export function descriptorsOfBroker({ perLane, perSpareLane }: BrokerOpenFiles, threads: number): number {
  const open = threads * (perLane + SPARE_LANES_PER_LANE * perSpareLane);
  return open * (DESCRIPTORS_PER_CONNECTION + 1) + RESERVED_DESCRIPTORS + threads * DESCRIPTORS_PER_THREAD;
}

/** Chooses how many tenants an application's client keeps open for reads: a sixteenth of the memory, a quarter of the descriptors. */
export function chooseOpenReaders(room: ProcessRoom): number {
  return boundReaders(room, 1 / 4, 1 / 16);
}

/** How many files and connections a gateway has open. */
export interface GatewayOpenFiles {
  /** Files that its own process reads. */
  readonly quick: number;
  /** Files of its client, which looks up receipts. */
  readonly client: number;
  /** Files of each process of reads. */
  readonly perProcess: number;
  /** Connections of callers. */
  readonly connections: number;
}

const MAX_PROCESS_FILES = 32;
const MAX_GATEWAY_FILES = 2_000;
const MAX_CONNECTIONS = 10_000;

/** Chooses for a gateway; what its files leave is for its callers' connections. */
export function chooseGatewayOpenFiles(room: ProcessRoom): GatewayOpenFiles {
  const quick = Math.min(MAX_GATEWAY_FILES, boundReaders(room, 1 / 4, 1 / 64));
  const client = Math.min(quick, boundReaders(room, 1 / 8, 1 / 64));
  const files = (quick + client) * DESCRIPTORS_PER_CONNECTION;
  return {
    quick,
    client,
    // A transaction that is kept open has a file of its own.
    perProcess: Math.min(MAX_PROCESS_FILES, boundReaders(room, 1 / 2, 1)),
    connections: boundConnections(room.descriptors - files),
  };
}

/** Connections that an HTTP server takes where so many descriptors are not used by files. */
export function boundConnections(descriptors: number): number {
  return Math.max(MIN_OPEN, Math.min(MAX_CONNECTIONS, descriptors - RESERVED_DESCRIPTORS));
}

function boundReaders(room: ProcessRoom, ofDescriptors: number, ofMemory: number): number {
  const descriptors = (room.descriptors - RESERVED_DESCRIPTORS) * ofDescriptors;
  const most = Math.min(
    descriptors / DESCRIPTORS_PER_CONNECTION,
    (room.memoryBytes * ofMemory) / READER_BYTES,
    MAX_READERS,
  );
  return Math.max(MIN_OPEN, Math.floor(most));
}

/**
 * Whether something failed because this process, or the machine, may open no more files. SQLite
 * reports every failure to open as "cannot open", so this tries to open another file. Call it at once.
 */
export function isOutOfDescriptors(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EMFILE' || code === 'ENFILE') return true;
  return typeof code === 'string' && code.startsWith('SQLITE_CANTOPEN') && !canOpenDatabase();
}

/** Whether the process can open as many files as SQLite needs for a database, and one for its folder. */
function canOpenDatabase(): boolean {
  const opened: number[] = [];
  try {
    while (opened.length <= DESCRIPTORS_PER_CONNECTION) opened.push(openSync('/dev/null', 'r'));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code !== 'EMFILE' && code !== 'ENFILE';
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}

/** Retry delay after a file could not be opened because the process had no free descriptors. */
export const DESCRIPTORS_RETRY_AFTER_MS = 500;
