import { readdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readFileIfThere, runningDir } from '@onewriter/protocol';
import { parseRunningNote } from '@onewriter/writer';

/** The end of the name of a note whose jobs were in a process of their own. */
export const APART_NOTE = '.apart';

/** The jobs that earlier leaders had at work when they ended. */
export interface RunningJobs {
  /** By thread; of threads that were at work. */
  readonly threads: readonly (readonly string[])[];
  /** Epochs of the leaders that had these. */
  readonly epochs: readonly string[];
  /** Those in a process of their own, which did not end the leader's. */
  readonly apart: readonly string[];
}

export function readRunningNotes(dataDir: string): RunningJobs {
  const threads: (readonly string[])[] = [];
  const apart: string[] = [];
  const epochs = new Set<string>();
  for (const path of list(dataDir)) {
    const jobs = parseRunningNote(read(path));
    if (path.endsWith(APART_NOTE)) apart.push(...jobs);
    else if (jobs.length > 0) {
      threads.push(jobs);
      // Its name is the epoch, and the number of the thread.
      epochs.add(basename(path).split('.')[0]!);
    }
  }
  return { threads, apart, epochs: [...epochs] };
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
