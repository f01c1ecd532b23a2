import type { Command } from 'commander';
import {
  DATA_DIR_OPTION,
  JOBS_OPTION,
  JSON_OPTION,
  OFFLINE_OPTION,
  type ProgramContext,
  TIMEOUT_OPTION,
  withExamples,
} from './options.ts';

/** `adopt` and `release`: existing files become tenants', and plain files again. */
export function addMoveCommands(program: Command, { setExitCode }: ProgramContext): void {
  withExamples(
    program
      .command('adopt')
      .description(
        "look at existing SQLite files, and make them tenants' files where they are, without a copy",
      )
      .argument('<folder>', 'on the file system of the data directory, or the data directory itself')
      .option(
        '--pattern <path>',
        'where the files lie below it, with {tenant} and * (default: found, where it is clear)',
      )
      .option('--names <file>', 'JSON with ids of tenants: {"Name in the tree": "id"}')
      .option('--apply', 'adopt what is ready; without it nothing is changed')
      .option(...JOBS_OPTION)
      .option(...TIMEOUT_OPTION)
      .option(...OFFLINE_OPTION)
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (folder, options) =>
        setExitCode(await (await import('../commands/adopt.ts')).adopt(folder, options)),
      ),
    [
      'onewriter adopt /srv/app/data                      what would be adopted, and what stands against it',
      "onewriter adopt /srv/app/data --pattern '{tenant}/main.sqlite' --apply",
      'onewriter adopt "$ONEWRITER_DATA_DIR" --apply      files that are in their place already',
    ],
  );

  withExamples(
    program
      .command('release')
      .description("give tenants' files back, as plain files of SQLite without a trace of Onewriter")
      .argument('[tenants...]')
      .option('--all', 'all tenants')
      .option('--to <folder>', 'copy them there (default: they stay where they are)')
      .option('--pattern <path>', 'with --to: where each lies below it (default: {tenant}.db)')
      .option('--journal-mode <mode>', 'delete or wal', 'delete')
      .option(...JOBS_OPTION)
      .option(...TIMEOUT_OPTION)
      .option(...OFFLINE_OPTION)
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (tenants, options) =>
        setExitCode(await (await import('../commands/release.ts')).release(tenants, options)),
      ),
    [
      "onewriter release acme --to /srv/app/data --pattern '{tenant}/main.sqlite'",
      'onewriter release --all --offline                  in their place; nothing runs',
    ],
  );
}
