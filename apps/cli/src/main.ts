import { endQuietlyOnBrokenPipe } from './broken-pipe.ts';
import { runCli } from './program.ts';

const args = process.argv.slice(2);
// `up` goes on without those who read its log.
if (args[0] !== 'up') endQuietlyOnBrokenPipe();
process.exitCode = await runCli(args);
