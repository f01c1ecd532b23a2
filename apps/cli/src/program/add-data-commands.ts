import type { Command } from 'commander';
import { sql } from '../commands/sql.ts';
import { tail } from '../commands/tail.ts';
import { DATA_DIR_OPTION, type ProgramContext, withExamples } from './options.ts';

/** `sql` and `tail`: what is in a tenant. */
export function addDataCommands(program: Command, { setExitCode }: ProgramContext): void {
  withExamples(
    program
      .command('sql')
      .description(
        'run a statement, a script, or a shell; reads are done directly, writes go through the broker',
      )
      .argument('<tenant>')
      .argument('[statement]', 'one statement, or .tables, .schema; without it what standard input has')
      .option(...DATA_DIR_OPTION)
      .option(
        '--params <json>',
        'array, or object of named parameters; {"i":"1"} is a 64-bit integer, {"b":"aGk="} a blob in base64',
      )
      .option(
        '--script <file>',
        "statements that are applied as a whole or not at all; '-' is standard input",
      )
      .option('--timeout <seconds>', 'deadline of a statement (default: 30)')
      .option('--json', 'print each result as one line of JSON')
      .action(async (tenant, statement, options) => setExitCode(await sql(tenant, statement, options))),
    [
      'onewriter sql acme                                        a shell, with history and completion',
      'onewriter sql acme "SELECT * FROM tasks LIMIT 5"',
      `onewriter sql acme "UPDATE tasks SET title = ? WHERE id = ?" --params '["new", 7]'`,
      'onewriter sql acme .schema',
      'onewriter sql acme --script migrate.sql                   all or nothing',
      'onewriter sql acme < statements.sql                       one after the other, until one fails',
    ],
  );

  withExamples(
    program
      .command('tail')
      .description('follow the commits of a tenant: when, how many writes, which statement, what failed')
      .argument('<tenant>')
      .option('--last <count>', 'jobs that were committed before (default: 10)')
      .option('--no-follow', 'print those, and end')
      .option(...DATA_DIR_OPTION)
      .option('--json', 'print a line of JSON for each job')
      .action(async (tenant, options) => setExitCode(await tail(tenant, options))),
    ['onewriter tail acme', 'onewriter tail acme --last 100 --no-follow --json | jq .statement'],
  );
}
