import type { Command } from 'commander';
import {
  AT_OPTION,
  DATA_DIR_OPTION,
  FROM_OPTION,
  JOBS_OPTION,
  JSON_OPTION,
  OFFLINE_OPTION,
  type ProgramContext,
  TIMEOUT_OPTION,
  withExamples,
} from './options.ts';

/** `backup`, `restore` and `check`. */
export function addSafetyCommands(program: Command, { setExitCode }: ProgramContext): void {
  withExamples(
    program
      .command('backup')
      .description('copy tenants as they are at one moment, while they are written, and verify the copies')
      .argument('[tenant]')
      .option('--all', 'all tenants')
      .option(...JOBS_OPTION)
      .option(...TIMEOUT_OPTION)
      .option('--verify <how>', 'full: integrity, and against the source; quick: pages', 'full')
      .option('--out <folder>', 'folder of all backups (default: backups in the data directory)')
      .option('--resume <operation>', 'leave out what this backup did before it was cancelled or interrupted')
      .option('--list', 'list the backups that are there')
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (tenant, options) =>
        setExitCode(await (await import('../commands/backup.ts')).backup(tenant, options)),
      ),
    [
      'onewriter backup acme',
      'onewriter backup --all --out /mnt/backups     for cron; ends with 1 where a tenant failed',
      'onewriter backup --list acme',
    ],
  );

  withExamples(
    program
      .command('restore')
      .description(
        'restore a backup, or a point of the replica: as a new tenant, or in the place of a file, which is kept',
      )
      .argument(
        '[backup]',
        'the .db file; its manifest beside it is used where it is there. With --at or --from-litestream: the tenant',
      )
      .argument('[tenant]', 'default: the one that the manifest names')
      .option(...AT_OPTION)
      .option('--as <tenant>', 'with --at: the new tenant that it becomes')
      .option('--rows <tables>', 'with --at: bring back only what these tables lost, or has changed')
      .option('--all', 'all tenants of the replica that are not here; run it again after a failure')
      .option('--hibernated', 'with --all: nothing is fetched, each tenant comes when it is used')
      .option(
        '--take-over',
        'with --all: the data directory that the group in Redis belongs to is gone; give the group to this one',
      )
      .option(...FROM_OPTION)
      .option('--from-litestream <url>', 'a replica of Litestream 0.3: the folder that has generations')
      .option(...JOBS_OPTION)
      .option('--replace', 'put the present file aside, under a name that is printed')
      .option('--leave-paused', 'after --replace: apply no writes until `onewriter tenants resume`')
      .option(...TIMEOUT_OPTION)
      .option(...OFFLINE_OPTION)
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (path, tenant, options) =>
        setExitCode(await (await import('../commands/restore-any.ts')).restoreAny(path, tenant, options)),
      ),
    [
      'onewriter restore /mnt/backups/acme/20261121T093000Z-c42.db acme-look     look at it first',
      'onewriter restore /mnt/backups/acme/20261121T093000Z-c42.db --replace     in its place',
      'onewriter restore acme --at "5 minutes ago" --as acme-then                out of the replica',
      'onewriter restore acme --at "5 minutes ago" --rows orders,items           only rows; later writes stay',
      'onewriter restore --all --from s3://bucket/prefix                         on a new machine',
      'onewriter restore acme --from-litestream s3://bucket/acme                 from Litestream 0.3',
    ],
  );

  withExamples(
    program
      .command('diff')
      .description(
        'compare a tenant with a backup of it, or a point of the replica, row by row, and bring rows back without losing later writes',
      )
      .argument('<tenant>')
      .argument('[backup]', 'the .db file of the time before; or give --at')
      .option(...AT_OPTION)
      .option(...FROM_OPTION)
      .option('--tables <names>', 'with commas between them (default: all)')
      .option('--rows <number>', 'rows of each table that are shown', '5')
      .option('--bring-back <which>', 'removed, changed, or both with a comma: write them as they were')
      .option(...TIMEOUT_OPTION)
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (tenant, backup, options) =>
        setExitCode(await (await import('../commands/diff.ts')).diff(tenant, backup, options)),
      ),
    [
      'onewriter diff acme /mnt/backups/acme/20261121T093000Z-c42.db',
      'onewriter diff acme --at "5 minutes ago"                                out of the replica',
      'onewriter diff acme backup.db --tables orders --bring-back removed     undo one mistaken DELETE',
    ],
  );

  withExamples(
    program
      .command('check')
      .description('check files: integrity, foreign keys, ledger against file and queue, orphaned files')
      .argument('[tenants...]')
      .option('--all', 'all tenants, and what lies beside them')
      .option(...JOBS_OPTION)
      .option(...TIMEOUT_OPTION)
      .option('--quick', 'pages and ledger, not indexes and foreign keys: a tenth of the time')
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (tenants, options) =>
        setExitCode(await (await import('../commands/check.ts')).check(tenants, options)),
      ),
    ['onewriter check acme', 'onewriter check --all --json | jq .findings'],
  );
}
