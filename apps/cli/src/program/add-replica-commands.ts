import type { Command } from 'commander';
import {
  AT_OPTION,
  DATA_DIR_OPTION,
  FROM_OPTION,
  JSON_OPTION,
  LIMIT_OPTION,
  OFFLINE_OPTION,
  type ProgramContext,
  TIMEOUT_OPTION,
  WITHOUT_FILES_OPTION,
  withExamples,
} from './options.ts';

/** `onewriter replica …`, `history` and `branch`. */
export function addReplicaCommands(program: Command, { setExitCode }: ProgramContext): void {
  const replica = withExamples(
    program.command('replica').description('show what is stored off the machine, and its cost'),
    ['onewriter replica status', 'onewriter replica cost --commits 0.5 --size 50'],
  );

  replica
    .command('status', { isDefault: true })
    .description(
      'show stores, what is not sound, tenants that are behind; ends with 3 where nothing may wait for it',
    )
    .option('--tenant <id>', 'only this one')
    .option(...FROM_OPTION)
    .option(...DATA_DIR_OPTION)
    .option(...WITHOUT_FILES_OPTION)
    .option(...JSON_OPTION)
    .action(async options =>
      setExitCode(await (await import('../commands/replica-status.ts')).replicaStatus(options)),
    );

  replica
    .command('verify')
    .description('restore tenants beside their files, check and compare; ends with 3 where one is not sound')
    .argument('[tenants...]')
    .option('--all', 'all that the replica has')
    .option(...FROM_OPTION)
    .option(...TIMEOUT_OPTION)
    .option(...OFFLINE_OPTION)
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenants, options) =>
      setExitCode(await (await import('../commands/replica-verify.ts')).verifyReplica(tenants, options)),
    );

  replica
    .command('erase')
    .description('destroy the key of a deleted tenant: its history is unreadable in all stores, for ever')
    .argument('<tenant>')
    .option('--confirm <tenant>', 'its name once more')
    .option(...OFFLINE_OPTION)
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenant, options) =>
      setExitCode(await (await import('../commands/replica-keys.ts')).eraseReplica(tenant, options)),
    );

  replica
    .command('rewrap')
    .description('put the keys of all tenants under the newest master key; run it again after a failure')
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async options =>
      setExitCode(await (await import('../commands/replica-keys.ts')).rewrapReplica(options)),
    );

  replica
    .command('cost')
    .description('estimate requests, bytes and dollars a month')
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

  program
    .command('history')
    .description('list the points that a tenant can be restored to, the newest first')
    .argument('<tenant>')
    .option(...FROM_OPTION)
    .option(...LIMIT_OPTION)
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenant, options) =>
      setExitCode(await (await import('../commands/history.ts')).history(tenant, options)),
    );

  withExamples(
    program
      .command('branch')
      .description('make a new tenant of one as it is, or was, out of the replica')
      .argument('<tenant>')
      .argument('<new>')
      .option(...AT_OPTION)
      .option(...FROM_OPTION)
      .option(...TIMEOUT_OPTION)
      .option(...OFFLINE_OPTION)
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (tenant, name, options) =>
        setExitCode(await (await import('../commands/restore-point.ts')).branch(tenant, name, options)),
      ),
    ['onewriter branch acme acme-test --at "1 hour ago"'],
  );
}
