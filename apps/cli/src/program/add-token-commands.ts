import { RIGHTS } from '@onewriter/runtime';
import type { Command } from 'commander';
import { DATA_DIR_OPTION, JSON_OPTION, type ProgramContext } from './options.ts';

/** `token`, `token revoke`, `token list`. */
export function addTokenCommands(program: Command, { setExitCode }: ProgramContext): void {
  const commands = () => import('../commands/token.ts');
  const token = program
    .command('token')
    .description('sign a bearer token, or revoke one')
    .option(...DATA_DIR_OPTION)
    .option('--tenants <list>', "tenant ids with commas between them, or '*' for all")
    .option('--access <level>', 'read, write or admin (default: write)')
    .option('--rights <list>', `instead of --access, exactly these: ${RIGHTS.join(',')}`)
    .option('--subject <name>', 'who it is for: for logs, and to revoke it by')
    .option('--expires-in <duration>', 'for example 30m, 24h, 7d', '30d')
    .option(...JSON_OPTION)
    .action(async options => setExitCode(await (await commands()).token(options)));

  token
    .command('revoke')
    .description('end tokens early: gateways and dashboards refuse them within two seconds')
    .argument('[token]', 'the token, or its id (jti)')
    .option(...DATA_DIR_OPTION)
    .option('--subject <name>', 'all tokens of this subject that were issued until now')
    .option(...JSON_OPTION)
    .action(async (given, _, command) =>
      setExitCode(await (await commands()).revokeToken(given, command.optsWithGlobals())),
    );

  token
    .command('list')
    .description('list what is revoked')
    .option(...DATA_DIR_OPTION)
    .option(...JSON_OPTION)
    .action(async (_, command) =>
      setExitCode(await (await commands()).listRevokedTokens(command.optsWithGlobals())),
    );
}
