import { assertSqliteOpens, explainReply, toWireError } from '@onewriter/protocol';
import { Command, CommanderError } from 'commander';
import { EXIT, EXIT_CODES_HELP } from './exit-codes.ts';
import { printError, printErrorAsJson } from './print-error.ts';
import { addDataCommands } from './program/add-data-commands.ts';
import { addDeadLetterCommands } from './program/add-dead-letter-commands.ts';
import { addHealthCommands } from './program/add-health-commands.ts';
import { addHibernateCommands } from './program/add-hibernate-commands.ts';
import { addMoveCommands } from './program/add-move-commands.ts';
import { addOperationsCommands } from './program/add-operations-commands.ts';
import { addReplicaCommands } from './program/add-replica-commands.ts';
import { addSafetyCommands } from './program/add-safety-commands.ts';
import { addTenantCommands } from './program/add-tenant-commands.ts';
import { addTokenCommands } from './program/add-token-commands.ts';
import { DATA_DIR_OPTION, type ProgramContext, withExamples } from './program/options.ts';
import { UsageError } from './usage-error.ts';

/** Commands that open no database; `doctor` reports a broken one as a finding. */
const WITHOUT_SQLITE: ReadonlySet<string> = new Set([
  ...['config', 'token', 'completion', '__tenants', 'status', 'doctor'],
]);

/**
 * Runs the command line. Errors are one line on standard error; with `--json`, of JSON.
 * @param args without node and script.
 * @returns the exit code, see {@link EXIT}.
 */
export async function runCli(args: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.ok;
  // `up` writes a log there, for people.
  const report = args.includes('--json') && args[0] !== 'up' ? printErrorAsJson : printError;
  const program = createProgram(code => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and version were printed by commander; its errors are reported here.
      if (error.exitCode === 0 || error.code === 'commander.help')
        return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
      const message = `${error.message.replace(/^error: /, '').replace(/[^.]$/, '$&.')} See: onewriter ${nameCommand(program, args)}--help`;
      report({ code: 'INVALID_ARGUMENT', message });
      return EXIT.usage;
    }
    report(toWireError(explainReply(error) ?? error));
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
}

/** The command that was meant, for a hint: `tenants pause `. */
function nameCommand(program: Command, args: readonly string[]): string {
  let command: Command | undefined = program;
  let name = '';
  for (const arg of args) {
    command = command.commands.find(candidate => candidate.name() === arg);
    if (command === undefined) break;
    name += `${arg} `;
  }
  return name;
}

/** All commands. */
export function createProgram(setExitCode: (code: number) => void): Command {
  const program = new Command('onewriter')
    .description("One writer for every tenant's SQLite file.")
    .version('0.1.0')
    .addHelpText('after', EXIT_CODES_HELP)
    .exitOverride()
    .configureOutput({ outputError: () => {} });

  program.hook('preAction', async (_, action) => {
    if (WITHOUT_SQLITE.has(action.name())) return;
    // Not a static import: it would cost every command its time.
    const { default: Database } = await import('better-sqlite3');
    assertSqliteOpens(() => new Database(':memory:'));
  });

  program
    .command('up')
    .description('run everything on this machine: Redis, broker, gateway and dashboard')
    .option(...DATA_DIR_OPTION)
    .option('--redis-url <url>', 'use this Redis instead of a private one in the data directory')
    .option('--gateway-port <port>', 'port of the gateway, 0 for any free one (default: 8080 if free)')
    .option('--dashboard-port <port>', 'port of the dashboard, 0 for any free one (default: 8081 if free)')
    .option('--threads <count>', 'writer threads (default: 2)')
    .option('--brokers <count>', 'brokers: one leads, the others stand by to take over (default: 1)')
    .option('--show-token', 'print the admin token also where the output is no terminal')
    .option(
      '--json',
      'print one line of JSON when all is ready, with the token, and nothing else on standard output',
    )
    .action(async options => setExitCode(await (await import('./commands/up.ts')).up(options)));

  const context: ProgramContext = { setExitCode };
  addHealthCommands(program, context);
  addTenantCommands(program, context);
  addDataCommands(program, context);
  addSafetyCommands(program, context);
  addReplicaCommands(program, context);
  addHibernateCommands(program, context);
  addMoveCommands(program, context);
  addOperationsCommands(program, context);
  addDeadLetterCommands(program, context);

  program
    .command('config')
    .description('list every setting: environment variable, value, default, meaning')
    .option('--json', 'print one line of JSON')
    .action(async options => setExitCode(await (await import('./commands/config.ts')).config(options)));

  addTokenCommands(program, context);

  withExamples(
    program
      .command('completion')
      .description('print a script that completes commands, options and tenants in a shell')
      .argument('<shell>', 'bash, zsh or fish')
      .action(async shell =>
        setExitCode(await (await import('./commands/completion.ts')).completion(shell, program)),
      ),
    [
      'source <(onewriter completion bash)          in ~/.bashrc',
      'source <(onewriter completion zsh)           in ~/.zshrc, after compinit',
      'onewriter completion fish > ~/.config/fish/completions/onewriter.fish',
    ],
  );
  program
    .command('__tenants', { hidden: true })
    .action(async () => setExitCode(await (await import('./commands/tenant-names.ts')).tenantNames()));

  return program;
}
