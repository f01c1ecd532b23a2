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
  'folder that holds the tenants (default: ONEWRITER_DATA_DIR, else ./data)',
] as const;

/** Option of commands that need Redis alone. */
export const WITHOUT_FILES_OPTION = [
  '--without-files',
  'this machine does not have the data directory: act on the group that Redis names',
] as const;

export const JSON_OPTION = ['--json', 'print one line of JSON'] as const;

/** Adds examples to a command's help. */
export function withExamples(command: Command, examples: readonly string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${examples.map(example => `  ${example}`).join('\n')}`);
}
