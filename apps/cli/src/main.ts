import { endQuietlyOnBrokenPipe } from './broken-pipe.ts';
import { runCli } from './program.ts';

const args = process.argv.slice(2);
// `up` continues when the reader of its log ends.
if (args[0] !== 'up') endQuietlyOnBrokenPipe();
// What commands make is tenants' data. A wrong value is reported by those that read the settings.
const umask = process.env['ONEWRITER_UMASK'] || '077';
if (/^0?[0-7]{3}$/.test(umask)) process.umask(Number.parseInt(umask, 8));
process.exitCode = await runCli(args);
