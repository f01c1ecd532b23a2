import { readFileSync, realpathSync, statSync } from 'node:fs';
import { tenantsDir } from './names.ts';

/*
 * WAL keeps its index in memory that all users of a file share, so they must run on one kernel. On a network file
 * system each host has its own, and a reader elsewhere sees old or torn data without an error. /proc/self/mountinfo
 * shows what a folder is on.
 */

/** What a data directory is on. */
export type DataDirKind =
  /** Files can be opened directly. */
  | { readonly kind: 'local'; readonly fileSystem: string }
  /** On a network file system, or one shared with another kernel. */
  | { readonly kind: 'network'; readonly fileSystem: string }
  /** There is no such folder. */
  | { readonly kind: 'absent' };

/**
 * Types that are, or may be, used from more than one kernel. 9p and virtiofs share a folder between a virtual
 * machine and its host (WSL 2, Docker Desktop, Kata): the other side may have the file open too.
 */
const SHARED_TYPES =
  /^(nfs|nfs4|cifs|smb|smb2|smb3|smbfs|ncpfs|afs|coda|ceph|glusterfs|lustre|gpfs|beegfs|ocfs2|gfs2|orangefs|pvfs2|9p|virtiofs|vboxsf|vmhgfs|prl_fs|fakeowner|grpcfuse|osxfs)$/;

/** FUSE types that are local: a container's own layers, and block devices. Any other `fuse.…` may be a network. */
const LOCAL_FUSE = /^(fuseblk|fuse\.(fuse-overlayfs|unionfs|mergerfs|bindfs|lxcfs|gocryptfs))$/;

/** What people say that a data directory is on; auto: it is looked up. */
export type AssumedKind = 'auto' | 'local' | 'network';

/** Looks what the folder is on. Where there is no /proc (not Linux) it counts as local. */
export function inspectDataDir(dataDir: string, assumed: AssumedKind = 'auto'): DataDirKind {
  const found = lookUp(dataDir);
  return assumed === 'auto' || found.kind === 'absent' ? found : { ...found, kind: assumed };
}

function lookUp(dataDir: string): DataDirKind {
  let path: string;
  try {
    if (!statSync(dataDir).isDirectory()) return { kind: 'absent' };
    path = realpathSync(dataDir);
  } catch {
    return { kind: 'absent' };
  }
  let mountinfo: string;
  try {
    mountinfo = readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return { kind: 'local', fileSystem: 'unknown' };
  }
  // The tenants' folder may be a mount of its own inside the data directory.
  try {
    path = realpathSync(tenantsDir(path));
  } catch {
    // No tenant yet: it will be created on the file system of the data directory.
  }
  const fileSystem = fileSystemOf(path, mountinfo);
  return { kind: isShared(fileSystem) ? 'network' : 'local', fileSystem };
}

/** Whether files of this type of file system may be in use from another kernel. */
export function isShared(fileSystem: string): boolean {
  if (SHARED_TYPES.test(fileSystem)) return true;
  return fileSystem.startsWith('fuse') && !LOCAL_FUSE.test(fileSystem);
}

/**
 * The type of the file system that holds `path` (absolute, without links).
 * Source: proc(5), /proc/pid/mountinfo: field 5 is the mount point with \ooo escapes, the type follows ` - `.
 */
export function fileSystemOf(path: string, mountinfo: string): string {
  let best = '';
  let fileSystem = 'unknown';
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ');
    const mountPoint = before?.split(' ')[4];
    const type = after?.split(' ')[0];
    if (mountPoint === undefined || type === undefined) continue;
    const point = mountPoint.replace(/\\([0-7]{3})/g, (_, octal) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const inside = point === '/' || path === point || path.startsWith(`${point}/`);
    // If two mounts share a mount point, the later covers the earlier.
    if (inside && point.length >= best.length) {
      best = point;
      fileSystem = type;
    }
  }
  return fileSystem;
}
