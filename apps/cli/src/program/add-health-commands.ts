import type { Command } from 'commander';
import { doctor } from '../commands/doctor.ts';
import { DATA_DIR_OPTION, JSON_OPTION, type ProgramContext, withExamples } from './options.ts';

/** `doctor`. */
export function addHealthCommands(program: Command, { setExitCode }: ProgramContext): void {
  withExamples(
    program
      .command('doctor')
      .description(
        'look for the usual mistakes in settings, machine, Redis and processes, and say what to do',
      )
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async options => setExitCode(await doctor(options))),
    ['onewriter doctor', 'onewriter doctor --json | jq \'.diagnoses[] | select(.level == "error")\''],
  );
}
