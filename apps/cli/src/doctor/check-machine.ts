import { accessSync, constants, existsSync, readdirSync, type Stats, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { formatBytes } from '@onewriter/files';
import {
  type AssumedKind,
  assertSqliteOpens,
  chooseBrokerOpenFiles,
  descriptorsOfBroker,
  inspectDataDir,
  readDescriptorLimit,
  readProcessRoom,
  realDatabasePath,
  STATUS_BOUNDS,
  tenantsDir,
} from '@onewriter/protocol';
import { configSchema, environmentName } from '@onewriter/runtime';
import Database from 'better-sqlite3';
import { dataDirTrouble, type Target } from '../target.ts';
import { checkRights } from './check-rights.ts';
import { bad, type Diagnosis, ok, skipped } from './diagnosis.ts';
import { isOldSqlite, OLDEST_SAFE_SQLITE } from './sqlite-version.ts';

/** Settings of the command line that are no settings of processes. */
const OTHER_VARIABLES = new Set(['ONEWRITER_HISTORY', 'ONEWRITER_FAILPOINT']);
/** Below this, whatever the share: SQLite and Redis need room to make their logs longer. */
const MIN_FREE_BYTES = 512 * 1024 * 1024;
const MIN_FREE_BYTES_ERROR = 32 * 1024 * 1024;
const MIN_FREE_INODES_SHARE = 0.02;
/** Tenants whose files are looked at for their owner: it is the same mistake in all, as a rule. */
const MAX_FILES = 1_000;

/** Looks at this program, its settings, the data directory and its disk. */
export function checkMachine(target: Target): Diagnosis[] {
  return [
    ...checkVariables(process.env),
    checkNode(process.versions.node),
    checkOwnSqlite(),
    ...checkDataDir(target),
  ];
}

/** A variable that is written wrong does nothing, silently. */
export function checkVariables(environment: Readonly<Record<string, string | undefined>>): Diagnosis[] {
  const known = new Set(
    Object.keys(configSchema.shape).map(key => environmentName(key as keyof typeof configSchema.shape)),
  );
  const strange = Object.keys(environment).filter(
    name => name.startsWith('ONEWRITER_') && !known.has(name) && !OTHER_VARIABLES.has(name),
  );
  if (strange.length === 0) return [ok('settings', 'all ONEWRITER_ variables are known')];
  return strange.map(name =>
    bad(
      'warning',
      'settings',
      `${name} is no setting, so it does nothing.`,
      '`onewriter config` lists them all.',
    ),
  );
}

export function checkNode(version: string): Diagnosis {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return ok('node', `Node ${version}`);
  return bad('error', 'node', `Node ${version} is too old.`, 'Install Node 20.19 or newer.');
}

function checkOwnSqlite(): Diagnosis {
  try {
    assertSqliteOpens(() => new Database(':memory:'));
  } catch (error) {
    return bad('error', 'sqlite', (error as Error).message, 'No process opens a tenant before that.');
  }
  const db = new Database(':memory:');
  try {
    const version = db.prepare<[], string>('SELECT sqlite_version()').pluck().get()!;
    if (!isOldSqlite(version)) return ok('sqlite', `SQLite ${version} here`);
    return bad(
      'error',
      'sqlite',
      `SQLite ${version} here can damage databases in WAL mode.`,
      `Run npm ci: SQLite must be ${OLDEST_SAFE_SQLITE} or newer.`,
    );
  } finally {
    db.close();
  }
}

function checkDataDir(target: Target): Diagnosis[] {
  const { dataDir } = target;
  const trouble = dataDirTrouble(dataDir);
  if (trouble !== undefined && !isUnreadable(dataDir)) {
    const next =
      'Name the right one with --data-dir or ONEWRITER_DATA_DIR, or mount it. `onewriter up` makes a new one.';
    return [bad('error', 'data-directory', trouble, next)];
  }
  return [
    checkAccess(dataDir),
    checkRights(dataDir),
    checkFileSystem(dataDir, target.config.dataDirKind),
    checkReads(dataDir, target.config.dataDirKind),
    ...checkDisk(dataDir),
    ...checkPermissions(target),
    ...checkOwners(target),
  ];
}

/** It is there, and this user may not look into it: what is said of its access says more. */
function isUnreadable(dataDir: string): boolean {
  try {
    if (!statSync(dataDir).isDirectory()) return false;
  } catch {
    return false; // it is not there, or a file is in the place of a folder above it
  }
  try {
    accessSync(dataDir, constants.R_OK | constants.X_OK);
    return false;
  } catch {
    return true;
  }
}

function checkAccess(dataDir: string): Diagnosis {
  try {
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
    return ok('data-directory', `${dataDir} can be read and written`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const readOnly = code === 'EROFS';
    return bad(
      'error',
      'data-directory',
      readOnly
        ? `${dataDir} is mounted read-only.`
        : `${dataDir} cannot be read and written by this user (${code}).`,
      readOnly
        ? 'Find out why (dmesg: a file system with errors is mounted read-only), mend it, and mount it for writes.'
        : 'Run this as the user that the broker runs as, or give the directory to them (chown -R).',
    );
  }
}

function checkFileSystem(dataDir: string, assumed: AssumedKind): Diagnosis {
  const found = inspectDataDir(dataDir, assumed);
  if (found.kind === 'network') {
    return bad(
      'error',
      'file-system',
      `The data directory is on ${found.fileSystem}, which other machines may use: a WAL file must not be shared between machines, and locks may not hold.`,
      'Move the data to a local disk: stop everything, copy the data directory, start with the new --data-dir.',
    );
  }
  return ok('file-system', `local${found.kind === 'local' ? ` (${found.fileSystem})` : ''}`);
}

/** Which way the processes on this machine read, and why. */
export function checkReads(dataDir: string, assumed?: AssumedKind): Diagnosis {
  const found = inspectDataDir(dataDir, assumed);
  const others = 'Processes without the files read through a gateway (gatewayUrl), else through the broker.';
  if (found.kind === 'network') {
    return ok(
      'reads',
      `the broker alone opens files on ${found.fileSystem}. The gateway reads through the broker, the dashboard through the gateway. What needs the file itself (check, backup, export) is done while the tenant is paused. ${others}`,
    );
  }
  try {
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch {
    return ok(
      'reads',
      `this user reads files while the broker has them open: without the right to write it cannot make the index of a log. ${others}`,
    );
  }
  return ok('reads', `apps and the gateway read the files, the dashboard through the gateway. ${others}`);
}

function checkDisk(dataDir: string): Diagnosis[] {
  const { bavail, blocks, bsize, files, ffree } = statfsSync(dataDir);
  const disk = judgeDisk(bavail * bsize, blocks * bsize);
  // Some file systems have no fixed number of inodes and say 0.
  if (files === 0 || ffree / files >= MIN_FREE_INODES_SHARE) return [disk];
  const next =
    'Remove small files: the trash, old backups, node_modules; or make a file system with more inodes.';
  return [disk, bad('warning', 'inodes', `${ffree} of ${files} inodes are free.`, next)];
}

/** By the same shares as the alert, or by what is left. */
export function judgeDisk(freeBytes: number, totalBytes: number): Diagnosis {
  const share = totalBytes > 0 ? freeBytes / totalBytes : 1;
  const found = `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} are free (${(share * 100).toFixed(1)} %)`;
  const next =
    'Free space: remove old backups and files kept by restores (`onewriter check --all` lists them), empty the trash, ' +
    'or grow the disk. The broker then continues without a restart.';
  if (share < STATUS_BOUNDS.diskFreeShareCritical || freeBytes < MIN_FREE_BYTES_ERROR) {
    return bad('error', 'disk', `The disk is nearly full: ${found}.`, next);
  }
  if (share < STATUS_BOUNDS.diskFreeShare || freeBytes < MIN_FREE_BYTES) {
    return bad('warning', 'disk', `The disk is filling: ${found}.`, next);
  }
  return ok('disk', found);
}

/** Checks that only their owner may access secret files and the data directory. */
function checkPermissions({ dataDir }: Target): Diagnosis[] {
  const secrets = ['token-secret', 'onewriter.json', 'redis/password', 'redis/redis.conf'];
  const open = secrets.filter(name => {
    const stats = statSync(join(dataDir, name), { throwIfNoEntry: false });
    return stats !== undefined && (stats.mode & 0o077) !== 0;
  });
  const diagnoses = open.map(name =>
    bad(
      'error',
      'permissions',
      `${join(dataDir, name)} holds a secret, and others may read it.`,
      `chmod 600 ${join(dataDir, name)}${name === 'token-secret' ? ', and make a new secret if others may have read it: remove the file and restart' : ''}.`,
    ),
  );
  for (const path of [dataDir, tenantsDir(dataDir)]) {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats !== undefined && (stats.mode & 0o002) !== 0) {
      diagnoses.push(bad('error', 'permissions', `Everybody may write into ${path}.`, `chmod o-w ${path}`));
    }
  }
  return diagnoses.length > 0 ? diagnoses : [ok('permissions', 'secrets are readable by their owner alone')];
}

/** A file that belongs to another user than its folder's owner is one that the broker may not be able to write. */
function checkOwners(target: Target): Diagnosis[] {
  const root = tenantsDir(target.dataDir);
  if (!existsSync(root)) return [skipped('owners', 'there are no tenants yet')];
  let names: string[];
  try {
    names = readdirSync(root).slice(0, MAX_FILES);
  } catch (error) {
    return [skipped('owners', (error as Error).message)];
  }
  const { uid } = statSync(root);
  const foreign = names
    .flatMap(name => {
      const folder = join(root, name);
      const file = realDatabasePath(join(folder, target.dbFile));
      return [folder, file, `${file}-wal`, `${file}-shm`];
    })
    .filter(path => {
      const stats = statSync(path, { throwIfNoEntry: false });
      return stats !== undefined && stats.uid !== uid && !mayWrite(stats, uid);
    });
  if (foreign.length === 0) return [ok('owners', 'the owner of the folder of tenants owns all of them')];
  return [
    bad(
      'error',
      'owners',
      `${foreign.length} files or folders belong to another user than ${root} does, whose user may not write them: ${foreign.slice(0, 3).join(', ')}${foreign.length > 3 ? ' …' : ''}.`,
      `chown -R --reference=${root} ${root}`,
    ),
  ];
}

function mayWrite({ mode }: Stats, uid: number): boolean {
  return uid === 0 || (mode & 0o002) !== 0;
}

/** With fewer open tenants than that many installations close and open files all the time. */
const FEW_OPEN_TENANTS = 500;

/** Whether a broker's limit of open files is enough for the tenants that it is to keep open. */
export function checkOpenFiles(pid: number, { config }: Target): Diagnosis {
  const descriptors = readDescriptorLimit(pid);
  if (descriptors === undefined) {
    return skipped('open-files', 'the limits of the broker can be read on its own machine only');
  }
  const { threads, maxOpenTenants } = config;
  const room = { ...readProcessRoom(), descriptors };
  const chosen = chooseBrokerOpenFiles(room, threads, maxOpenTenants);
  const tenants = chosen.perLane * threads;
  const found = `the broker may open ${descriptors} files, and keeps up to ${tenants} tenants open`;
  if (maxOpenTenants === undefined && tenants >= FEW_OPEN_TENANTS) return ok('open-files', found);
  const needed = descriptorsOfBroker(chosen, threads);
  if (maxOpenTenants !== undefined && descriptors >= needed) return ok('open-files', found);
  return bad(
    'warning',
    'open-files',
    maxOpenTenants === undefined
      ? `The broker may open ${descriptors} files, so it keeps no more than ${tenants} tenants open.`
      : `The broker may open ${descriptors} files, and its tenants may need ${needed}.`,
    `Raise the limit (ulimit -n, LimitNOFILE)${maxOpenTenants === undefined ? '' : ' or lower ONEWRITER_MAX_OPEN_TENANTS'}, and restart it.`,
  );
}
