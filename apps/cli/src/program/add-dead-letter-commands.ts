import type { Command } from 'commander';
import {
  DATA_DIR_OPTION,
  JSON_OPTION,
  LIMIT_OPTION,
  type ProgramContext,
  WITHOUT_FILES_OPTION,
} from './options.ts';

/** `dead-letters list`, `retry` and `drop`. */
export function addDeadLetterCommands(program: Command, { setExitCode }: ProgramContext): void {
  const deadLetters = program
    .command('dead-letters')
    .description('writes that were set aside: they failed and no caller waited, or they did harm');

  withPlace(deadLetters.command('list'))
    .description('list them, newest first: receipt, tenant, error, statement')
    .option('--tenant <id>', 'only those of this tenant')
    .option(...LIMIT_OPTION)
    .option(...JSON_OPTION)
    .action(async options =>
      setExitCode(await (await import('../commands/dead-letters.ts')).listDeadLetters(options)),
    );

  withChoice(deadLetters.command('retry'))
    .description('send them again, oldest first: each as a new job, with the idempotency key it had')
    .action(async (ids, options) =>
      setExitCode(await (await import('../commands/dead-letters.ts')).retryDeadLetters(ids, options)),
    );

  withChoice(deadLetters.command('drop'))
    .description('remove them for good')
    .action(async (ids, options) =>
      setExitCode(await (await import('../commands/dead-letters.ts')).dropDeadLetters(ids, options)),
    );
}

function withPlace(command: Command): Command {
  return command.option(...DATA_DIR_OPTION).option(...WITHOUT_FILES_OPTION);
}

/** Which letters a command is about. */
function withChoice(command: Command): Command {
  return withPlace(command.argument('[ids...]', 'ids of receipts or letters'))
    .option('--all', 'all of them, or all of a tenant')
    .option('--tenant <id>', 'with --all: only those of this tenant')
    .option(...JSON_OPTION);
}
