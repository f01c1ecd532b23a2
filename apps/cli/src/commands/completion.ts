import type { Command } from 'commander';
import { completionScript, SHELLS, type Shell } from '../completion/completion-scripts.ts';
import { describeCommands } from '../completion/describe-commands.ts';
import { EXIT } from '../exit-codes.ts';
import { UsageError } from '../usage-error.ts';

/** Prints the script that completes the words of this program in a shell. */
export function completion(shell: string, program: Command): number {
  if (!SHELLS.includes(shell as Shell)) {
    throw new UsageError(`Completion is there for ${SHELLS.join(', ')}.`);
  }
  process.stdout.write(completionScript(shell as Shell, describeCommands(program)));
  return EXIT.ok;
}
