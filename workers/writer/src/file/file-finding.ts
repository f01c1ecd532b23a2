import type { RescuedFile } from './file-rescue.ts';
import type { FileChange } from './file-watch.ts';

const WHAT: Readonly<Record<FileChange, string>> = {
  gone: 'The file was deleted or moved away while it was in use.',
  replaced: 'Another file was put in the place of the one in use.',
  overwritten: 'The file was overwritten while it was in use, by something that is not SQLite.',
  'log-gone': 'The log of the file (-wal) was deleted while it was in use.',
  'log-replaced': 'Another log (-wal) was put in the place of the one in use.',
  'log-overwritten':
    'The log of the file (-wal) was cut or overwritten while it was in use, by something that is not SQLite.',
};

/** Describes the change of a tenant's file, where its commits are, and the remedy: for the log, people and callers. */
export function describeChange(
  tenant: string,
  path: string,
  change: FileChange,
  rescued: RescuedFile,
  newestSeq: number,
): string {
  return [
    WHAT[change],
    ...describeRescue(path, rescued, newestSeq),
    ...(rescued.copy === undefined
      ? []
      : [`To continue where it ended: onewriter restore ${rescued.copy.path} ${tenant} --replace.`]),
    change === 'gone'
      ? `To begin with a new, empty file: onewriter tenants pause ${tenant}, then resume.`
      : `To continue with the file at ${path} now: onewriter tenants pause ${tenant}, then resume.`,
  ].join(' ');
}

/** The same if nothing could be saved yet. */
export function describeUnsaved(change: FileChange, cause: string): string {
  return `${WHAT[change]} What was committed to it is in memory only and could not be saved (${cause}): make that possible, do not end the broker. It is tried again.`;
}

/** Describes a change that cannot be determined. */
export function describeUnseen(path: string, cause: string): string {
  return `It cannot be seen whether ${path} and its log are still the files in use (${cause}): make that possible, do not end the broker. It is tried again.`;
}

/**
 * Describes that another program commits to a file that is in place, and the remedy.
 * @param tablesGone it removed the tables that number commits
 */
export function describeOthersWrote(tenant: string, path: string, tablesGone: boolean): string {
  const find = `Find the process (fuser -v ${path}) and have it write through Onewriter, or while the tenant is paused.`;
  if (tablesGone) {
    return [
      'Another process wrote to the file while the broker had it open, and removed or changed tables of Onewriter (sqlite_onewriter_…).',
      'Without them it is not known which writes were applied, so nothing more is written to it.',
      find,
      `Put a backup in its place: onewriter restore <backup> ${tenant} --replace.`,
    ].join(' ');
  }
  return [
    'Another process wrote to the file while the broker had it open.',
    'Nothing is lost; but its writes have no commit number, so events, waiting readers and open transactions do not see them.',
    find,
    `To continue with the file as it is: onewriter tenants pause ${tenant}, then resume.`,
  ].join(' ');
}

/** Describes a file that was put, while it was closed, beside the log of the one before, and the remedy. */
export function describeOtherLog(tenant: string, path: string): string {
  return [
    `Another file was put at ${path}, and the log of the one before lies beside it (${path}-wal), with commits that may be nowhere else.`,
    'SQLite would write them into the other file, so it is not opened.',
    'Put the former file back, or move its log away;',
    `then: onewriter tenants pause ${tenant}, then resume.`,
  ].join(' ');
}

/** The same if that could not be noted beside the file. */
export function describeUnnoted(finding: string, cause: string): string {
  return `${finding} This could not be noted in the data directory (${cause}); it is tried again.`;
}

function describeRescue(
  path: string,
  { copy, log, movedTo, foundLog }: RescuedFile,
  newestSeq: number,
): string[] {
  if (copy !== undefined && copy.commitSeq < newestSeq) {
    return [
      `Up to commit ${copy.commitSeq}, it was saved as ${copy.path}.`,
      `Commits ${copy.commitSeq + 1} to ${newestSeq} were only in the log and are lost; the log as it was found is ${foundLog}.`,
    ];
  }
  if (copy !== undefined) return [`All of it, up to commit ${copy.commitSeq}, was saved as ${copy.path}.`];
  if (movedTo !== undefined) return [`It is whole at ${movedTo}: put it back, or restore a backup.`];
  return [
    `Its newest commits were in the log, which was saved as ${log}; only with the file as it was they are of use.`,
    `If that is what is there (its time was touched): pause, move the log to ${path}-wal, resume.`,
  ];
}
