import type { Command } from 'commander';
import {
  DATA_DIR_OPTION,
  JSON_OPTION,
  type ProgramContext,
  WITHOUT_FILES_OPTION,
  withExamples,
} from './options.ts';

/** `status`, `doctor` and `bench`. */
export function addHealthCommands(program: Command, { setExitCode }: ProgramContext): void {
  withExamples(
    program
      .command('status')
      .description(
        'who leads, how fast, how full, and what is wrong; ends with 3 where something is critical',
      )
      .option('--watch', 'every second, on a screen of its own; q ends it')
      .option(...DATA_DIR_OPTION)
      .option(...WITHOUT_FILES_OPTION)
      .option('--json', 'print one line of JSON; with --watch one every second')
      .action(async options => setExitCode(await (await import('../commands/status.ts')).status(options))),
    ['onewriter status', 'onewriter status --watch', 'onewriter status --json | jq .findings'],
  );

  withExamples(
    program
      .command('doctor')
      .description(
        'look for the usual mistakes in settings, machine, Redis and processes, and say what to do',
      )
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async options => setExitCode(await (await import('../commands/doctor.ts')).doctor(options))),
    ['onewriter doctor', 'onewriter doctor --json | jq \'.diagnoses[] | select(.level == "error")\''],
  );

  withExamples(
    program
      .command('bench')
      .description('measure a running stack: writes and reads in a tenant of its own, deleted afterwards')
      .option('--quick', '2 seconds of each scenario instead of 10')
      .option('--seconds <count>', 'seconds of each scenario')
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async options => setExitCode(await (await import('../commands/bench.ts')).bench(options))),
    ['onewriter bench --quick'],
  );
}
