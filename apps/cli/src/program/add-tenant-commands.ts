import type { Command } from 'commander';
import {
  DATA_DIR_OPTION,
  JSON_OPTION,
  type ProgramContext,
  WITHOUT_FILES_OPTION,
  withExamples,
} from './options.ts';

/** `onewriter tenants …` */
export function addTenantCommands(program: Command, { setExitCode }: ProgramContext): void {
  const tenants = withExamples(
    program.command('tenants').description('list, look at, create, pause, resume, delete and check tenants'),
    [
      'onewriter tenants                       list them all',
      'onewriter tenants info acme             all that is known of one',
      'onewriter tenants pause acme            nothing is applied, its file is closed',
      'onewriter tenants delete acme --confirm acme',
    ],
  );

  tenants
    .command('list', { isDefault: true })
    .description('list all tenants: size, last activity, queued jobs, state')
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async options =>
      setExitCode(await (await import('../commands/tenants.ts')).listTenants(options)),
    );

  tenants
    .command('info')
    .description('show all that is known of a tenant: state, sizes, newest commit, queue, tables')
    .argument('<tenant>')
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenant, options) =>
      setExitCode(await (await import('../commands/tenants.ts')).tenantInfo(tenant, options)),
    );

  tenants
    .command('create')
    .description('create a tenant; does nothing where there is one already')
    .argument('<tenant>')
    .option('--script <file>', 'SQL that is applied to the new database, as a whole')
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenant, options) =>
      setExitCode(await (await import('../commands/tenants.ts')).createTenant(tenant, options)),
    );

  tenants
    .command('pause')
    .description('stop applying writes: they wait in the queue, the broker closes the file, reads continue')
    .argument('<tenant>')
    .option('--reason <text>', 'why, for the people who see it paused')
    .option(...DATA_DIR_OPTION)
    .option(...WITHOUT_FILES_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenant, options) =>
      setExitCode(await (await import('../commands/tenants.ts')).pause(tenant, options)),
    );

  tenants
    .command('resume')
    .description('apply writes again, those that waited first')
    .argument('<tenant>')
    .option(...DATA_DIR_OPTION)
    .option(...WITHOUT_FILES_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenant, options) =>
      setExitCode(await (await import('../commands/tenants.ts')).resume(tenant, options)),
    );

  tenants
    .command('set')
    .description('choose when callers of a tenant are answered, and whether it is replicated')
    .argument('<tenant>')
    .requiredOption(
      '--durability <mode>',
      'async: the replica follows; sync: callers wait for it; off: none; default: ONEWRITER_REPLICA_MODE',
    )
    .option(...DATA_DIR_OPTION)
    .option(...WITHOUT_FILES_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenant, options) =>
      setExitCode(await (await import('../commands/durability.ts')).setTenant(tenant, options)),
    );

  tenants
    .command('delete')
    .description('move a tenant to the trash, where it stays for ONEWRITER_TRASH_RETENTION_MS')
    .argument('<tenant>')
    .option('--confirm <tenant>', 'its name once more; without it you are asked')
    .option(
      '--discard-queued',
      'lose the writes that wait in its queue; else they keep it from being deleted',
    )
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (tenant, options) =>
      setExitCode(await (await import('../commands/tenants.ts')).deleteTenant(tenant, options)),
    );

  tenants
    .command('check')
    .description('check the files of tenants, as `onewriter check` does')
    .argument('<tenants...>')
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (names, options) =>
      setExitCode(await (await import('../commands/check.ts')).check(names, options)),
    );
}
