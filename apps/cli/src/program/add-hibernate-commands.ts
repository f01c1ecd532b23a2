import type { Command } from 'commander';
import {
  DATA_DIR_OPTION,
  JSON_OPTION,
  type ProgramContext,
  TIMEOUT_OPTION,
  withExamples,
} from './options.ts';

/** `onewriter hibernate` and `wake`. */
export function addHibernateCommands(program: Command, { setExitCode }: ProgramContext): void {
  withExamples(
    program
      .command('hibernate')
      .description('take tenants’ files away, once the replica has proved that it gives them back')
      .argument('[tenants...]')
      .option('--all', 'all that have a file')
      .option('--force', 'also where writes wait: they bring it back')
      .option('--reason <text>', 'for those who find it held meanwhile')
      .option(...TIMEOUT_OPTION)
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (tenants, options) =>
        setExitCode(await (await import('../commands/hibernate.ts')).hibernate(tenants, options)),
      ),
    ['onewriter hibernate acme', 'onewriter wake acme      a write or a read does it, too'],
  );

  program
    .command('wake')
    .alias('warm')
    .description('bring hibernated tenants’ files back before they are needed')
    .argument('[tenants...]')
    .option('--all', 'all that are hibernated')
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenants, options) =>
      setExitCode(await (await import('../commands/hibernate.ts')).wake(tenants, options)),
    );
}
