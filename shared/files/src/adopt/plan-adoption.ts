import { existsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { findDatabaseFile, isKnownDatabase, OnewriterError, tenantFile } from '@onewriter/protocol';
import type { DataPlace } from '../data-place.ts';
import { isSameFile } from './adopt-steps.ts';
import type { FileLook, FileNote } from './inspect-file.ts';
import { describeOpeners, type Openers } from './open-elsewhere.ts';
import { findUnnamed } from './second-name.ts';
import { nameTenants } from './tenant-ids.ts';
import { type TreePattern, tenantNameIn } from './tree-pattern.ts';
import type { TreeEntry } from './walk-tree.ts';

/**
 * - `ready`: it can be adopted; also where a run was killed in the middle.
 * - `adopted`: it is a tenant's already.
 * - `blocked`: an error keeps it from being adopted.
 */
export type AdoptionState = 'ready' | 'adopted' | 'blocked';

/** A file of a tree, and the tenant that it becomes. */
export interface Candidate {
  readonly path: string;
  /** The tenant's name in the tree. */
  readonly name: string;
  /** Null: it has no id, and `notes` say why. */
  readonly tenant: string | null;
  readonly notes: readonly FileNote[];
}

/** All that is known of a file. */
export interface PlannedFile extends Candidate, Partial<Omit<FileLook, 'notes'>> {
  readonly state: AdoptionState;
}

/** Gives each entry of a tree its tenant. @param given ids that a person chose, by name */
export function nameCandidates(
  entries: readonly TreeEntry[],
  pattern: TreePattern,
  given: ReadonlyMap<string, string>,
): readonly Candidate[] {
  // A link or a folder has only the beginning of a path.
  const names = entries.map(({ names }) => tenantNameIn(pattern, names) ?? names.join('/'));
  const ids = nameTenants(names, given);
  return entries.map(({ path, trouble }, index) => {
    const id = ids[index]!;
    const name = names[index]!;
    if (trouble !== undefined) return { path, name, tenant: null, notes: [trouble] };
    if ('tenant' in id) return { path, name, tenant: id.tenant, notes: [] };
    const next = 'Give it an id: --names <file> with {"name": "id"}.';
    return {
      path,
      name,
      tenant: null,
      notes: [{ level: 'error', check: 'id', found: `${id.trouble}.`, next }],
    };
  });
}

/** Judges a file by a look at it, and by where it lies. @param look undefined: there was none */
export function planFile(
  place: DataPlace,
  candidate: Candidate,
  look: FileLook | undefined,
  openers: Openers,
): PlannedFile {
  const { path, tenant } = candidate;
  const facts = look ?? {};
  const notes = [...candidate.notes, ...(look?.notes ?? [])];
  if (tenant === null) return { ...candidate, ...facts, state: 'blocked', notes };
  const file = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  const inPlace = resolve(path) === file;
  if (inPlace && isKnownDatabase(place.dataDir, tenant))
    return { ...candidate, ...facts, state: 'adopted', notes };
  const there = inPlace ? undefined : findPlaced(file);
  if (there instanceof OnewriterError) notes.push(error('taken', there.message, 'Look at its folder.'));
  const begun = typeof there === 'string' && isSame(there, path);
  if (begun) {
    notes.push({
      level: 'note',
      check: 'begun',
      found: `It is ${file} already, too: an earlier run did not come to its end.`,
      next: 'Nothing: --apply continues. Nothing may open it before.',
    });
  }
  if (typeof there === 'string' && !begun) {
    notes.push(
      error('taken', `Tenant ${tenant} has another file: ${file}.`, 'Give this one another id with --names.'),
    );
  }
  if (!inPlace && !begun && look?.isOnewriters === true) {
    notes.push(
      error(
        'names',
        'It was written by Onewriter.',
        `Restore it, which continues its numbers: onewriter restore ${path} ${tenant}.`,
      ),
    );
  }
  notes.push(
    ...notesOfPlace(
      place,
      path,
      inPlace,
      begun || (!inPlace && existsSync(path) && findUnnamed(file, path) !== undefined),
    ),
    ...notesOfOpeners(openers, path),
  );
  const isBlocked = notes.some(({ level }) => level === 'error');
  return { ...candidate, ...facts, state: isBlocked ? 'blocked' : 'ready', notes };
}

/** The file that a tenant has; the error where what is there is refused. */
function findPlaced(file: string): string | OnewriterError | undefined {
  try {
    return findDatabaseFile(file)?.path;
  } catch (trouble) {
    if (trouble instanceof OnewriterError) return trouble;
    throw trouble;
  }
}

function notesOfPlace(place: DataPlace, path: string, inPlace: boolean, begun: boolean): FileNote[] {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return [error('readable', 'It is gone.', 'Look again.')];
  const { dev, nlink } = stats;
  const notes: FileNote[] = [];
  if (!inPlace && dev !== statSync(nearest(place.dataDir)).dev) {
    notes.push(
      error(
        'file-system',
        `It lies on another file system than ${place.dataDir}, and adopting copies nothing.`,
        'Put the data directory on the same one, or restore a copy: onewriter restore <file> <tenant>.',
      ),
    );
  }
  if (nlink > (begun ? 2 : 1)) {
    notes.push(
      error(
        'links',
        'It has another name somewhere (a hard link): two tenants could share it, each with a log of its own.',
        'Give it content of its own: cp <file> <file>.new && mv <file>.new <file>.',
      ),
    );
  }
  return notes;
}

function notesOfOpeners(openers: Openers, path: string): FileNote[] {
  const found = openers.of(path);
  if (found.length === 0) return [];
  const next = 'Stop it, or have it write through Onewriter.';
  return [error('open', `It is open in ${describeOpeners(found)}.`, next)];
}

function error(check: string, found: string, next: string): FileNote {
  return { level: 'error', check, found, next };
}

function isSame(path: string, other: string): boolean {
  return existsSync(path) && existsSync(other) && isSameFile(path, other);
}

/** The folder itself, or the one above in which it would be made. */
export function nearest(folder: string): string {
  return existsSync(folder) ? folder : nearest(dirname(folder));
}
