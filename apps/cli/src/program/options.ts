import type { Command } from 'commander';

/*
 * A command's code is loaded when it runs: all of it together takes half a second, and a shell asks for completion at
 * each key.
 */

/** What the groups of commands need to report. */
export interface ProgramContext {
  /** Sets the exit code of the command that ran. */
  readonly setExitCode: (code: number) => void;
}

export const DATA_DIR_OPTION = [
  '--data-dir <folder>',
  'folder of the tenants (default: ONEWRITER_DATA_DIR, else ./data)',
] as const;

/** Option of commands that need Redis alone. */
export const WITHOUT_FILES_OPTION = [
  '--without-files',
  'this machine does not have the data directory: act on the group that Redis names',
] as const;

export const JSON_OPTION = ['--json', 'print one line of JSON'] as const;

/** Options of commands that work on many tenants or files, each in a process of its own. */
export const JOBS_OPTION = ['--jobs <count>', 'how many at a time (default: the cores, 4 at most)'] as const;
export const TIMEOUT_OPTION = [
  '--timeout <seconds>',
  'stop each after this (default: 600, more for a large file)',
] as const;

export const OFFLINE_OPTION = ['--offline', 'do not ask Redis: no broker runs'] as const;

/** Where a replica is. */
export const FROM_OPTION = [
  '--from <url>',
  'the replica: s3://… or file:///… (default: the first of ONEWRITER_REPLICA_URL)',
] as const;

export const AT_OPTION = [
  '--at <point>',
  'a commit, a time as 2026-11-30T12:00:00Z, "5 minutes ago", or newest',
] as const;

export const LIMIT_OPTION = ['--limit <count>', 'at most so many (default: 50)'] as const;

/** Adds examples to a command's help. */
export function withExamples(command: Command, examples: readonly string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${examples.map(example => `  ${example}`).join('\n')}`);
}
