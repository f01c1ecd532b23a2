import { rmSync, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  DATABASE_COMPANIONS,
  flushPath,
  knownTenantMark,
  noteKnownDatabase,
  OnewriterError,
} from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { checkAs } from '../check/check-file.ts';
import { readFormat } from '../open/open-database.ts';
import { hashContent } from '../own/content-hash.ts';
import { assertAlone, exclusively } from '../own/exclusively.ts';
import { findOwnObjects } from '../own/own-objects.ts';
import { describeOpeners, findOpeners } from './open-elsewhere.ts';

/* The steps of an adoption that read the whole file. */

/**
 * Checks a file that no other process may have open.
 * @param source what it is called in messages
 * @param isTenants whether the tenant has it already, so that a broker may have written it
 * @returns the hash of its content
 * @throws OnewriterError DATABASE_BUSY, DATABASE_CORRUPT, INVALID_ARGUMENT, DATABASE_…
 */
export function examine(path: string, source: string, isTenants: boolean, busyTimeoutMs: number): string {
  return exclusively(path, busyTimeoutMs, db => {
    const { problems } = checkAs('quick', db);
    if (problems.length > 0) {
      throw new OnewriterError('DATABASE_CORRUPT', `${source} is damaged: ${problems[0]}.`, { problems });
    }
    assertNotOurs(db, source, isTenants);
    return hashContent(db);
  });
}

function assertNotOurs(db: Database, source: string, isTenants: boolean): void {
  if (readFormat(db) !== undefined) {
    if (isTenants) return;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `${source} was written by Onewriter: restore it (onewriter restore ${source} <tenant>), or release it where it comes from.`,
    );
  }
  const [own] = findOwnObjects(db);
  if (own === undefined) return;
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `${source} has ${own.type} ${own.name}: names that begin with _onewriter_ are for the broker.`,
  );
}

/**
 * Compares a file by its second name with what it was, and removes the first. All of that while it is locked: a program that was
 * started meanwhile, and opens it by its first name, would have its commits in a log that goes with that name.
 * @throws OnewriterError DATABASE_BUSY, DATABASE_CORRUPT, DATABASE_…
 */
export function removeFirstName(
  dataDir: string,
  tenant: string,
  source: string,
  second: string,
  contentHash: string,
  busyTimeoutMs: number,
): void {
  const compare = (db: Database) => {
    if (hashContent(db) === contentHash) return;
    throw new OnewriterError(
      'DATABASE_CORRUPT',
      `${source} changed while it was adopted: another process writes it. Stop that first.`,
      { tenant },
    );
  };
  exclusively(second, busyTimeoutMs, compare, () => {
    assertUnused(source);
    // Of two commands at once the other may have given it up.
    if (!isSameFile(source, second)) {
      throw new OnewriterError('DATABASE_BUSY', `Another process has moved ${source}.`, { tenant });
    }
    noteAdopted(dataDir, tenant);
    unlinkSync(source);
    for (const suffix of DATABASE_COMPANIONS) rmSync(source + suffix, { force: true });
    flushPath(dirname(source));
  });
}

/** By its first name it may have a log of its own, and a connection without a lock shows only to the system. */
function assertUnused(source: string): void {
  assertAlone(source);
  const openers = findOpeners().of(source);
  if (openers.length === 0) return;
  throw new OnewriterError(
    'DATABASE_BUSY',
    `${source} is open in ${describeOpeners(openers)}: stop it first. Nothing was changed.`,
    { openers },
  );
}

/** From here on a file that is lost is noticed. */
export function noteAdopted(dataDir: string, tenant: string): void {
  noteKnownDatabase(dataDir, tenant);
  flushPath(dirname(knownTenantMark(dataDir, tenant)));
  flushPath(dataDir);
}

/** Whether two names are of one file. @throws Error ENOENT */
export function isSameFile(path: string, other: string): boolean {
  const [one, two] = [statSync(path), statSync(other)];
  return one.ino === two.ino && one.dev === two.dev;
}
