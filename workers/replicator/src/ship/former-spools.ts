import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  type CapturedLog,
  type CaptureMessage,
  type CaptureRoom,
  parseSpoolName,
  readBootId,
  readMessage,
  readRecords,
  type SpoolRecord,
  spoolsFolder,
} from '@onewriter/writer';
import { isSamePosition } from './continues.ts';
import type { Failures } from './failures.ts';
import type { TenantLine } from './tenant-line.ts';

/** Dependencies of {@link FormerSpools}. */
export interface FormerSpoolsOptions {
  readonly dataDir: string;
  /** Of this start: its own spool is in use. */
  readonly room: CaptureRoom;
  readonly failures: Failures;
}

/**
 * What a killed process had captured, and the store had not confirmed (`workers/writer/src/spool`): it comes before all that the writers
 * of this process send. It is believed as they are: as far as it continues from what is stored. The files stay until that is stored.
 */
export class FormerSpools {
  readonly #options: FormerSpoolsOptions;
  /** Pieces that are not stored, by the numbers that they got here. */
  readonly #open = new Set<bigint>();
  #folders: readonly string[] = [];
  /** Of the next message: before all that the writers of this process send. */
  #order = 0n;

  constructor(options: FormerSpoolsOptions) {
    this.#options = options;
  }

  /** Puts it into the lines of its tenants. Once, before they receive anything. @returns lines that took some of it */
  replay(lines: ReadonlyMap<string, TenantLine>): readonly TenantLine[] {
    const { failures } = this.#options;
    const folders = failures.try('', () => this.#findFolders()) ?? [];
    const records = failures.try('', () => readByTenant(folders)) ?? new Map<string, SpoolRecord[]>();
    this.#order = -BigInt([...records.values()].reduce((sum, each) => sum + each.length, 1));
    const taken: TenantLine[] = [];
    for (const [tenant, ofTenant] of records) {
      const line = lines.get(tenant);
      if (line?.settled === undefined) continue;
      if (this.#replayInto(line, ofTenant)) taken.push(line);
    }
    // Not before: where all that one tenant has is stored already, it is settled at once, and others are still to be read.
    this.#folders = folders;
    this.#removeIfDone();
    return taken;
  }

  /** A piece is stored, or of no use. */
  settle(order: bigint): void {
    if (this.#open.delete(order)) this.#removeIfDone();
  }

  /** Reads one message at a time: there may be many that only the room would have bounded. */
  #replayInto(line: TenantLine, records: readonly SpoolRecord[]): boolean {
    const first = records.findLastIndex(record => this.#readNext(line, record) !== undefined);
    if (first === -1) return false;
    for (const record of records.slice(first)) {
      const next = this.#readNext(line, record);
      // The log has the rest, or it is a gap.
      if (next === undefined) break;
      const message = { ...next, order: this.#order++ };
      if (message.kind === 'log' && !this.#takeRoom(message)) break;
      line.receive(message);
    }
    return true;
  }

  /** Undefined where it is not whole, or does not say what happened next to the tenant. */
  #readNext(line: TenantLine, record: SpoolRecord): CaptureMessage | undefined {
    const message = this.#options.failures.try(line.tenant, () => readMessage(record));
    return message !== undefined && follows(line, message) ? message : undefined;
  }

  #takeRoom({ order, frames }: CapturedLog): boolean {
    if (!this.#options.room.take(frames.byteLength)) return false;
    this.#open.add(order);
    return true;
  }

  /** The oldest first. Those of another boot are removed: they may have what the disk has lost. */
  #findFolders(): readonly string[] {
    const { dataDir, room } = this.#options;
    const folder = spoolsFolder(dataDir);
    const boot = readBootId();
    const found: { readonly path: string; readonly room: string }[] = [];
    for (const name of readNames(folder)) {
      const spool = parseSpoolName(name);
      const path = join(folder, name);
      if (spool === undefined || spool.room === room.id) continue;
      if (spool.boot === boot) found.push({ path, room: spool.room });
      else rmSync(path, { recursive: true, force: true });
    }
    return found.sort((one, other) => (one.room < other.room ? -1 : 1)).map(({ path }) => path);
  }

  #removeIfDone(): void {
    if (this.#open.size > 0) return;
    for (const path of this.#folders) {
      this.#options.failures.try('', () => rmSync(path, { recursive: true, force: true }));
    }
    this.#folders = [];
  }
}

/** Whether a message says what happened next to the tenant. */
function follows(line: TenantLine, message: CaptureMessage): boolean {
  const { settled } = line;
  if (settled === undefined || message.kind === 'lost') return false;
  return message.kind === 'log' ? line.fits(message) : isSamePosition(message.to, settled.end);
}

/** Of all threads of a room, in the order in which they were sent; and rooms in theirs. */
function readByTenant(folders: readonly string[]): Map<string, SpoolRecord[]> {
  const tenants = new Map<string, SpoolRecord[]>();
  for (const folder of folders) {
    const records = readNames(folder).flatMap(name => readRecords(join(folder, name)));
    records.sort((one, other) => (one.message.order < other.message.order ? -1 : 1));
    for (const record of records) {
      const { tenant } = record.message;
      const known = tenants.get(tenant);
      if (known === undefined) tenants.set(tenant, [record]);
      else known.push(record);
    }
  }
  return tenants;
}

/** Nothing where there is no such folder. */
function readNames(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
