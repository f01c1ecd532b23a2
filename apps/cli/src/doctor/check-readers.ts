import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tenantsDir } from '@onewriter/protocol';
import type { Target } from '../target.ts';
import { bad, type Diagnosis, ok, skipped } from './diagnosis.ts';
import { findSqliteVersion, isOldSqlite, OLDEST_SAFE_SQLITE } from './sqlite-version.ts';

/** A process that has files of tenants open. */
interface Reader {
  readonly pid: number;
  readonly command: string;
  readonly libraries: readonly string[];
}

const MAX_TOLD = 5;

/** Checks which SQLite the processes use that have tenants' files open: one that is too old can damage them. */
export function checkReaders(target: Target): Diagnosis[] {
  let pids: number[];
  try {
    pids = readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [skipped('readers', 'other processes can be looked at on Linux only')];
  }
  const root = `${tenantsDir(target.dataDir)}/`;
  let hidden = 0;
  const readers: Reader[] = [];
  for (const pid of pids) {
    const open = hasOpen(pid, root);
    if (open === undefined) hidden++;
    else if (open) readers.push({ pid, command: commandOf(pid), libraries: librariesOf(pid) });
  }
  const known = new Map<string, string | undefined>();
  const versionOf = (path: string) => {
    if (!known.has(path)) known.set(path, tryFindVersion(path));
    return known.get(path);
  };
  const old = readers.flatMap(reader => {
    const version = reader.libraries.map(versionOf).find(found => found !== undefined && isOldSqlite(found));
    return version === undefined ? [] : [{ ...reader, version }];
  });
  const diagnoses: Diagnosis[] = old
    .slice(0, MAX_TOLD)
    .map(({ pid, command, version }) =>
      bad(
        'error',
        'readers',
        `Process ${pid} (${command}) has tenants' files open with SQLite ${version}, which can damage databases in WAL mode.`,
        `Update its SQLite to ${OLDEST_SAFE_SQLITE} or newer, or have it read through the gateway.`,
      ),
    );
  if (old.length > MAX_TOLD) {
    diagnoses.push(bad('error', 'readers', `${old.length - MAX_TOLD} more processes do so.`, 'As above.'));
  }
  if (diagnoses.length === 0) {
    diagnoses.push(
      ok('readers', `${readers.length} processes have tenants’ files open, none with an old SQLite`),
    );
  }
  if (hidden > 0) {
    diagnoses.push(
      skipped(
        'readers',
        `${hidden} processes of other users could not be looked into; run this as root to see all`,
      ),
    );
  }
  return diagnoses;
}

/** Undefined where it may not be looked at; false also where it has ended meanwhile. */
function hasOpen(pid: number, root: string): boolean | undefined {
  const folder = `/proc/${pid}/fd`;
  try {
    for (const name of readdirSync(folder)) {
      try {
        if (readlinkSync(`${folder}/${name}`).startsWith(root)) return true;
      } catch {
        // closed meanwhile
      }
    }
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? undefined : false;
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .replace(/[\0\s]+/g, ' ')
      .trim()
      .slice(0, 80);
  } catch {
    return 'ended';
  }
}

/** Mapped files that may be SQLite: libraries and add-ons with it in their name, else the program itself. */
function librariesOf(pid: number): string[] {
  let maps: string;
  try {
    maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
  } catch {
    return [];
  }
  const mapped = new Set<string>();
  for (const line of maps.split('\n')) {
    // address perms offset dev inode path
    const path = /^\S+ r.x. \S+ \S+ \d+\s+(\/.*)$/.exec(line)?.[1];
    if (path !== undefined && !path.endsWith(' (deleted)')) mapped.add(path);
  }
  const named = [...mapped].filter(path => /sqlite|libsql|\.node$/i.test(path));
  if (named.length > 0) return named;
  try {
    return [readlinkSync(`/proc/${pid}/exe`)];
  } catch {
    return [];
  }
}

function tryFindVersion(path: string): string | undefined {
  try {
    return findSqliteVersion(path);
  } catch {
    return undefined; // in another container's file system, or gone
  }
}
