import { readdir, readFile, stat } from 'node:fs/promises';
import type { Directory } from './directory.ts';

/*
 * Compare-and-set without locks, so that a process that is stopped or dies holds up no other. The first state of an object is its plain
 * file. Each change by If-Match makes a file of the next number:
 *
 *   leader.json                           the first state, later a second name of the newest, for people
 *   .versions/leader.json/000000000001    state 1
 *   .versions/leader.json/000000000002    state 2: the newest
 *
 * `link` gives a number to one process only; the state with the highest number is the object.
 */

const VERSIONS = '.versions';
/** Older ones are removed. One that was stopped for so long that its number was removed finds newer ones. */
const KEPT = 8;

/** The state of an object. */
export interface Version {
  /** 0: the plain file. */
  readonly number: number;
  /** Name of its file under the root. */
  readonly name: string;
  readonly etag: string;
  readonly size: number;
  readonly modifiedMs: number;
}

/** The present state of an object; undefined: there is none. */
export async function newestVersion(directory: Directory, key: string): Promise<Version | undefined> {
  for (;;) {
    const number = (await numbersOf(directory, key)).at(-1) ?? 0;
    const name = number === 0 ? key : versionName(key, number);
    const found = await versionAt(directory, name, number);
    // Removed in between, as it is no longer the newest; of the plain file it means that there is none.
    if (found !== undefined || number === 0) return found;
  }
}

/** @returns the new state; undefined where `expected` is no longer the present one */
export async function changeVersion(
  directory: Directory,
  key: string,
  expected: string,
  draft: string,
): Promise<Version | undefined> {
  const present = await newestVersion(directory, key);
  if (present === undefined || present.etag !== expected) return undefined;
  const number = present.number + 1;
  if (!(await directory.linkNew(draft, versionName(key, number)))) return undefined;
  const numbers = await numbersOf(directory, key);
  // This process was stopped between the two lines above, and the number was free since others had removed it.
  if (numbers.at(-1) !== number) return undefined;
  for (const old of numbers.filter(other => other <= number - KEPT)) {
    await directory.remove(versionName(key, old));
  }
  const changed = await versionAt(directory, versionName(key, number), number);
  await directory.renameOver(draft, key);
  return changed;
}

/** Whether an object was ever changed by {@link changeVersion}. */
export async function hasVersions(directory: Directory, key: string): Promise<boolean> {
  return (await numbersOf(directory, key)).length > 0;
}

/** Removes all states of an object but the newest. */
export async function removeFormer(directory: Directory, key: string): Promise<void> {
  const numbers = await numbersOf(directory, key);
  const newest = numbers.at(-1);
  if (newest === undefined) return;
  for (const number of numbers.slice(0, -1)) await directory.remove(versionName(key, number));
  // The plain file is an older one where a process was killed before it had replaced that, too.
  const body = await readFile(directory.path(versionName(key, newest)));
  await directory.withDraft(body, draft => directory.renameOver(draft, key));
}

/** Removes an object with all its states. What changes it at the same time may bring it back. */
export async function removeVersions(directory: Directory, key: string): Promise<void> {
  for (const number of await numbersOf(directory, key)) await directory.remove(versionName(key, number));
  await directory.remove(key);
}

function versionName(key: string, number: number): string {
  return `${VERSIONS}/${key}/${String(number).padStart(12, '0')}`;
}

async function numbersOf(directory: Directory, key: string): Promise<readonly number[]> {
  try {
    const names = await readdir(directory.path(`${VERSIONS}/${key}`));
    return names
      .filter(name => /^\d{12}$/.test(name))
      .map(Number)
      .sort((one, other) => one - other);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function versionAt(directory: Directory, name: string, number: number): Promise<Version | undefined> {
  try {
    const { ino, size, mtimeNs, mtimeMs } = await stat(directory.path(name), { bigint: true });
    // Neither link nor rename changes one of these.
    const etag = `"${number}-${ino}-${size}-${mtimeNs}"`;
    return { number, name, etag, size: Number(size), modifiedMs: Number(mtimeMs) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
