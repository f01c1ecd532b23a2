import { readFileSync, realpathSync } from 'node:fs';
import { hostname } from 'node:os';
import { groupKeys } from './names.ts';
import { OnewriterError } from './onewriter-error.ts';

/*
 * A placement group belongs to one data directory. The first broker of a directory puts an id into it, and claims the group
 * for that id in Redis. Two installations that share a Redis and a group by mistake would else answer each other's writes
 * (ADR 0028).
 */

/** What is in `<dataDir>/identity`. */
export interface DataDirIdentity {
  readonly id: string;
  /** ISO time. */
  readonly created: string;
}

/** What is in Redis (`GroupKeys.dataDir`): the directory that a group belongs to, and where a broker last saw it. */
export interface DataDirRecord {
  readonly id: string;
  readonly host: string;
  /** Absolute. */
  readonly path: string;
}

/** `<dataDir>/identity` */
export function identityFile(dataDir: string): string {
  return `${dataDir}/identity`;
}

/** The identity of a data directory; undefined where it has none. @throws OnewriterError MISCONFIGURED for what is none */
export function readDataDirIdentity(dataDir: string): DataDirIdentity | undefined {
  const path = identityFile(dataDir);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new OnewriterError('MISCONFIGURED', `${path} cannot be read (${code}).`, {}, cause);
  }
  try {
    const { id, created } = JSON.parse(text) as Partial<DataDirIdentity>;
    if (typeof id === 'string' && /^[\w-]{8,64}$/.test(id)) return { id, created: String(created) };
  } catch {
    // said below
  }
  throw new OnewriterError(
    'MISCONFIGURED',
    `${path} does not hold the identity of a data directory. Take it from a backup; where there is none, remove the file and, with all brokers stopped, the key that names the group's owner: see docs/operations.md.`,
  );
}

/** What `restore --all` made a data directory from: which replica, and the identity of the directory that was stored there. */
export function replicaSourceFile(dataDir: string): string {
  return `${dataDir}/replica/source.json`;
}

/**
 * The identity of the directory whose tenants this one got from a replica; undefined where it was made otherwise, or the file cannot be
 * read. What was queued for that one is for this one.
 */
export function readFormerIdentity(dataDir: string): string | undefined {
  try {
    const { dataDirId } = JSON.parse(readFileSync(replicaSourceFile(dataDir), 'utf8')) as {
      dataDirId?: unknown;
    };
    return typeof dataDirId === 'string' ? dataDirId : undefined;
  } catch {
    return undefined;
  }
}

/** Where a data directory is, as people name it. */
export function placeOf(dataDir: string): Pick<DataDirRecord, 'host' | 'path'> {
  let path = dataDir;
  try {
    path = realpathSync(dataDir);
  } catch {
    // Not there: as it was given.
  }
  return { host: hostname(), path };
}

/** What jobs carry of an identity. */
export function shortIdentity({ id }: Pick<DataDirIdentity, 'id'>): string {
  return id.slice(0, 8);
}

/** The record of a group, parsed; undefined where there is none, or it cannot be read. */
export function parseDataDirRecord(json: string | null): DataDirRecord | undefined {
  try {
    const { id, host, path } = JSON.parse(json ?? '') as Partial<DataDirRecord>;
    return typeof id === 'string' ? { id, host: String(host), path: String(path) } : undefined;
  } catch {
    return undefined;
  }
}

/** The error of a process whose data directory is not the group's, with both places and the way out. */
export function foreignDataDir(group: string, dataDir: string, owner: DataDirRecord): OnewriterError {
  const { host, path } = placeOf(dataDir);
  return new OnewriterError(
    'MISCONFIGURED',
    `Group "${group}" of this Redis belongs to the data directory ${owner.host}:${owner.path}, and this process has another: ${host}:${path}. ` +
      'Give each installation a Redis or an ONEWRITER_GROUP of its own, or set ONEWRITER_DATA_DIR right. ' +
      `Only where ${owner.host}:${owner.path} is gone permanently: onewriter restore --all --take-over out of its replica, or, without one, redis-cli DEL '${groupKeys(group).dataDir}'; then start the broker of the new one.`,
    { reason: 'another data directory', owner: `${owner.host}:${owner.path}`, here: `${host}:${path}` },
  );
}

/**
 * Compares a data directory with the group's.
 * @param record the value of the group's key
 * @returns the error where they are not the same; undefined if they are, or if the group is unclaimed
 * @throws as {@link readDataDirIdentity}
 */
export function findForeignDataDir(
  group: string,
  dataDir: string,
  record: string | null,
): OnewriterError | undefined {
  const owner = parseDataDirRecord(record);
  // A broker makes the identity before it claims the group: a directory without one is another.
  if (owner === undefined || readDataDirIdentity(dataDir)?.id === owner.id) return undefined;
  return foreignDataDir(group, dataDir, owner);
}
