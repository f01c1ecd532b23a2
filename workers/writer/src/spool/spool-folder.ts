import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/*
 * `<dataDir>/replica/spool/<boot>-<room>/<thread>-<number>`: what the threads of one room captured and the store has not confirmed. It
 * outlives a process, not the machine: after a power cut a spool may be ahead of the tenants' files, so one of another boot is of no use.
 */

const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id';
/** A boot, as 32 hex digits, and the id of a CaptureRoom. */
const NAME = /^(?<boot>[0-9a-f]{32})-(?<room>[0-9a-f]{16})$/;

/** Which room, in which boot of the machine, a spool is of. */
export interface SpoolName {
  readonly boot: string;
  readonly room: string;
}

/** The folder of all spools of a data directory. */
export function spoolsFolder(dataDir: string): string {
  return join(dataDir, 'replica', 'spool');
}

/** Undefined where the system does not say when it was booted. */
export function readBootId(): string | undefined {
  try {
    return readFileSync(BOOT_ID_FILE, 'latin1').trim().replaceAll('-', '');
  } catch {
    return undefined; // not Linux: a gap after a kill, as without a spool
  }
}

/** The folder of a room's spool; undefined where there can be none. */
export function spoolFolder(dataDir: string, room: string): string | undefined {
  const boot = readBootId();
  return boot === undefined ? undefined : join(spoolsFolder(dataDir), `${boot}-${room}`);
}

/** Undefined where it is not the name of a spool. */
export function parseSpoolName(name: string): SpoolName | undefined {
  const { boot, room } = NAME.exec(name)?.groups ?? {};
  return boot === undefined || room === undefined ? undefined : { boot, room };
}
