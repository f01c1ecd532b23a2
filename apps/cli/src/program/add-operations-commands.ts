import type { Command } from 'commander';
import {
  DATA_DIR_OPTION,
  JSON_OPTION,
  LIMIT_OPTION,
  type ProgramContext,
  WITHOUT_FILES_OPTION,
  withExamples,
} from './options.ts';

const load = () => import('../commands/operations.ts');

/** `operations list`, `show`, `watch` and `cancel`. */
export function addOperationsCommands(program: Command, { setExitCode }: ProgramContext): void {
  const operations = program
    .command('operations')
    .description(
      'long work of all processes: backups, restores, checks, imports and exports, how far they are, how they ended',
    );

  withExamples(
    operations
      .command('list', { isDefault: true })
      .description('list them, the newest first')
      .option(
        '--state <state>',
        'only those that are queued, running, done, failed, cancelled or interrupted',
      )
      .option(...LIMIT_OPTION)
      .option(...DATA_DIR_OPTION)
      .option(...WITHOUT_FILES_OPTION)
      .option(...JSON_OPTION)
      .action(async options => setExitCode(await (await load()).listOperations(options))),
    ['onewriter operations', 'onewriter operations list --state running'],
  );

  operations
    .command('show')
    .description('show one: progress, result or error, and its last lines')
    .argument('<id>')
    .option(...DATA_DIR_OPTION)
    .option(...WITHOUT_FILES_OPTION)
    .option(...JSON_OPTION)
    .action(async (id, options) => setExitCode(await (await load()).showOperation(id, options)));

  operations
    .command('watch')
    .description('follow one until it ends; ends with 1 where it failed, was cancelled or interrupted')
    .argument('<id>')
    .option(...DATA_DIR_OPTION)
    .option(...WITHOUT_FILES_OPTION)
    .option('--json', 'print a line of JSON for each change')
    .action(async (id, options) => setExitCode(await (await load()).watchOne(id, options)));

  operations
    .command('cancel')
    .description(
      'ask the process that carries one out to stop; a restore that has begun to replace a file is finished',
    )
    .argument('<id>')
    .option(...DATA_DIR_OPTION)
    .option(...WITHOUT_FILES_OPTION)
    .option(...JSON_OPTION)
    .action(async (id, options) => setExitCode(await (await load()).cancelOperation(id, options)));
}
