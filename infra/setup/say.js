/*
 * Messages of set-up go to standard error: standard output belongs to the program that runs afterwards, which may
 * print one line of JSON and nothing else.
 */

/** @param {string} message */
export function say(message) {
  process.stderr.write(`${message}\n`);
}

/** A failure that its message explains; it ends the program without a stack trace. */
export class SetupError extends Error {}

/**
 * Runs a program's main function; a failure is one line and exit code 1.
 * @param {() => Promise<void>} main
 */
export async function runMain(main) {
  try {
    await main();
  } catch (error) {
    say(error instanceof SetupError ? error.message : String(error?.stack ?? error));
    process.exitCode = 1;
  }
}
