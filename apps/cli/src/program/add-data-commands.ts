import { type Command, Option } from 'commander';
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

/** `sql`, `tail`, `import` and `export`: what is in a tenant. */
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
      .option(...AT_OPTION)
      .option(...FROM_OPTION)
      .option('--json', 'print each result as one line of JSON')
      .action(async (tenant, statement, options) =>
        setExitCode(await (await import('../commands/sql.ts')).sql(tenant, statement, options)),
      ),
    [
      'onewriter sql acme                                        a shell, with history and completion',
      'onewriter sql acme "SELECT * FROM tasks LIMIT 5"',
      `onewriter sql acme "UPDATE tasks SET title = ? WHERE id = ?" --params '["new", 7]'`,
      'onewriter sql acme .schema',
      'onewriter sql acme "SELECT * FROM tasks" --at "1 hour ago"   out of the replica',
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
      .action(async (tenant, options) =>
        setExitCode(await (await import('../commands/tail.ts')).tail(tenant, options)),
      ),
    ['onewriter tail acme', 'onewriter tail acme --last 100 --no-follow --json | jq .statement'],
  );

  withExamples(
    program
      .command('import')
      .description('load a dump or a database, or write the rows of a CSV or NDJSON file into tables')
      .argument('<tenant>', 'with --split-by it is the file: the tenants are in it')
      .argument('[file]', "'-' is standard input")
      .option(
        '--table <name>',
        'the table, which must be there; without it each line of ndjson names its own',
      )
      .option('--format <format>', 'csv, ndjson, sql or sqlite (default: by the name of the file)')
      .addOption(
        new Option('--separator <what>', 'separator of csv (default: comma; tab for .tsv)').choices([
          'comma',
          'semicolon',
          'tab',
        ]),
      )
      .option(
        '--deferred',
        'one transaction, all or nothing: rows may refer to later ones; other writers wait',
      )
      .addOption(
        new Option(
          '--on-conflict <what>',
          'reject, ignore or replace a row that breaks a constraint (default: reject)',
        ).choices(['reject', 'ignore', 'replace']),
      )
      .option('--replace', 'a dump or database takes the place of what the tenant has; that is kept')
      .option('--resume', 'load a dump in steps between other writes; the same command continues it')
      .option('--max-rejected <count>', 'more rejected rows end it (default: 100)')
      .option('--idempotency-key <key>', 'sent again under one key, nothing is applied twice')
      .option(
        '--split-by <columns>',
        'make a tenant of each value of a column (tenant_id, or tenants.id of one table), out of one database with all of them',
      )
      .option('--shared <tables>', 'with --split-by: each tenant gets all of these tables')
      .option(
        '--via <columns>',
        'with --split-by: items.order_id=orders.id; rows of items go with those of orders',
      )
      .option('--leave-out <names>', 'with --split-by: tables, views and triggers that no tenant gets')
      .option('--leave-out-null', 'with --split-by: rows that belong to no tenant are left out')
      .option('--names <file>', 'with --split-by: JSON with ids of tenants: {"value": "id"}')
      .option('--apply', 'with --split-by: make the tenants; without it nothing is changed')
      .option(...JOBS_OPTION)
      .option(...TIMEOUT_OPTION)
      .option(...OFFLINE_OPTION)
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (tenant, path, options) =>
        setExitCode(await (await import('../commands/import.ts')).importFile(tenant, path, options)),
      ),
    [
      'onewriter import acme dump.sql                                      all or nothing; .sql.gz and .db as well',
      'onewriter import acme dump.sql --resume                             in steps, of an existing tenant',
      'onewriter import acme tasks.csv --table tasks',
      'onewriter import acme tree.ndjson --table tree --deferred           parents may come after their children',
      'onewriter import all.db --split-by tenant_id --shared plans         what would be made; then with --apply',
      'gunzip -c tasks.ndjson.gz | onewriter import acme - --table tasks --format ndjson --on-conflict ignore',
    ],
  );

  withExamples(
    program
      .command('export')
      .description('write rows, a dump, or the whole database into a file, as of one commit')
      .argument('<tenant>')
      .argument('<file>', "'-' is standard output")
      .option('--format <format>', 'ndjson, csv, sql or sqlite (default: by the name of the file)')
      .option('--table <name>', 'one table; csv has exactly one')
      .option('--force', 'replace a file that is there')
      .option(...DATA_DIR_OPTION)
      .option(...JSON_OPTION)
      .action(async (tenant, path, options) =>
        setExitCode(await (await import('../commands/export.ts')).exportFile(tenant, path, options)),
      ),
    [
      'onewriter export acme acme.db',
      'onewriter export acme tasks.csv --table tasks',
      'onewriter export acme - --format sql | gzip > acme.sql.gz',
    ],
  );
}
