import { EXIT } from './exit-codes.ts';

/** Exit code that a shell reports for a program ended by SIGPIPE: 128 plus the signal's number. Node ignores that signal. */
const BROKEN_PIPE_EXIT = 141;

/**
 * Ends the process when the reader of its output has gone (`onewriter export acme - --format sql | head`): quietly, as
 * programs without a handler of SIGPIPE do. An output that cannot be written otherwise (a full disk) is an error.
 */
export function endQuietlyOnBrokenPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(BROKEN_PIPE_EXIT);
      if (stream === process.stdout) {
        process.stderr.write(`onewriter: DATABASE_IO_ERROR Cannot write the output: ${error.message}\n`);
      }
      process.exit(EXIT.failed);
    });
  }
}
