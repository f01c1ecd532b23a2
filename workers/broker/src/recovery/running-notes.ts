import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readFileIfThere, runningDir } from '@onewriter/protocol';
import { parseRunningNote } from '@onewriter/writer';

/** The jobs that earlier leaders had in their threads when they ended, by thread; of threads that were at work. */
export function readRunningNotes(dataDir: string): readonly (readonly string[])[] {
  return list(dataDir)
    .map(path => parseRunningNote(read(path)))
    .filter(jobs => jobs.length > 0);
}

/** Deletes the notes of earlier leaders; this one has none before its first batch. */
export function removeRunningNotes(dataDir: string): void {
  for (const path of list(dataDir)) rmSync(path, { force: true });
}

/** '' where an older leader that is just ending removed the note. */
function read(path: string): string {
  return readFileIfThere(path, 'latin1') ?? '';
}

function list(dataDir: string): readonly string[] {
  const folder = runningDir(dataDir);
  try {
    return readdirSync(folder).map(name => join(folder, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
