import type { Command } from 'commander';
import {
  DATA_DIR_OPTION,
  JSON_OPTION,
  type ProgramContext,
  WITHOUT_FILES_OPTION,
  withExamples,
} from './options.ts';

/** `onewriter replica …` */
export function addReplicaCommands(program: Command, { setExitCode }: ProgramContext): void {
  const replica = withExamples(
    program.command('replica').description('look at what is stored off the machine, and what it costs'),
    ['onewriter replica status', 'onewriter replica cost --commits 0.5 --size 50'],
  );

  replica
    .command('status', { isDefault: true })
    .description(
      'show the stores, and the tenants that are most behind; ends with 3 where nothing may wait for it',
    )
    .option(...DATA_DIR_OPTION)
    .option(...WITHOUT_FILES_OPTION)
    .option(...JSON_OPTION)
    .action(async options =>
      setExitCode(await (await import('../commands/replica-status.ts')).replicaStatus(options)),
    );

  replica
    .command('cost')
    .description(
      'estimate requests, bytes and dollars a month, with the interval and retention of the settings',
    )
    .option('--tenants <counts>', 'with commas between them (default: 100,1000,10000)')
    .option('--commits <number>', 'a second, of each tenant (default: 0.1)')
    .option('--bytes <number>', 'of a commit, as stored (default: 1000)')
    .option('--size <megabytes>', 'of a tenant’s file, as stored (default: 10)')
    .option('--price-of-puts <dollars>', 'for 1,000 (default: 0.005)')
    .option('--price-of-gets <dollars>', 'for 1,000 (default: 0.0004)')
    .option('--price-of-storage <dollars>', 'for a GB and month (default: 0.023)')
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async options =>
      setExitCode((await import('../commands/replica-cost.ts')).printReplicaCost(options)),
    );
}
