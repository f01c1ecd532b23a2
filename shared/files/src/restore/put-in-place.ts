import { existsSync, linkSync, rmSync, unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  assertNotHibernated,
  forgetHibernated,
  hadDatabase,
  linkNewDatabase,
  newDatabaseName,
  OnewriterError,
  settleDatabaseChange,
} from '@onewriter/protocol';
import { flush } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import { opensRetired } from '../open/opens-retired.ts';
import { swapFile } from './swap-file.ts';

/**
 * Puts a file where a tenant has none.
 * @param fresh beside it; it is gone afterwards
 * @throws OnewriterError TENANT_BUSY where another process made one meanwhile; Error of the file system
 */
export function linkNewFile(place: DataPlace, tenant: string, fresh: string, file: string): void {
  assertNotHibernated(place.dataDir, tenant);
  linkFile(place, tenant, fresh, file);
}

/** The same with the file of a hibernated tenant, which counts from here on. @throws as {@link linkNewFile} */
export function linkWokenFile(place: DataPlace, tenant: string, fresh: string, file: string): void {
  linkFile(place, tenant, fresh, file);
  forgetHibernated(place.dataDir, tenant);
}

function linkFile({ dataDir, busyTimeoutMs }: DataPlace, tenant: string, fresh: string, file: string): void {
  settleDatabaseChange(file, opensRetired(busyTimeoutMs));
  try {
    // Unlike a rename neither takes the place of a file that came meanwhile.
    if (!hadDatabase(dataDir, tenant)) linkSync(fresh, file);
    else linkUnderOwnName(fresh, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const message = `Tenant ${tenant} got a file meanwhile: another process writes to it. Nothing was restored.`;
    throw new OnewriterError('TENANT_BUSY', message, { tenant }, error);
  }
  rmSync(fresh);
  flush(dirname(file));
}

/** For a tenant that had a file before. @throws Error EEXIST */
function linkUnderOwnName(fresh: string, file: string): void {
  const name = newDatabaseName(basename(file));
  const own = join(dirname(file), name);
  linkSync(fresh, own);
  if (linkNewDatabase(file, name)) return;
  unlinkSync(own);
  throw Object.assign(new Error(`${file} is there`), { code: 'EEXIST' });
}

/** What a replaced file left. */
export interface Replaced {
  /** The file that was there, under its new name; null where it is not kept. */
  readonly replaced: string | null;
  /** What processes that have it open may not notice. */
  readonly warning: string | undefined;
}

/**
 * Puts a file in the place of another: what changes files, and nothing before it does.
 * @param keeps whether the other is kept beside it
 */
export function replaceFile(file: string, fresh: string, busyTimeoutMs: number, keeps: boolean): Replaced {
  const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '');
  const replaced = keeps ? freeName(`${file}.replaced-${time}Z`) : null;
  const { notRetired } = swapFile(file, fresh, replaced ?? undefined, busyTimeoutMs);
  const warning =
    notRetired === undefined
      ? undefined
      : `the replaced file could not take a last commit (${notRetired.message}): a process that has it open reads it until it is restarted.`;
  return { replaced, warning };
}

/** A rename would take the place of a file that an earlier restore has kept. */
function freeName(name: string): string {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? name : `${name}-${number}`;
    if (!existsSync(candidate)) return candidate;
  }
}
