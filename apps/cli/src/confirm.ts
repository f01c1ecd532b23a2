import { createInterface } from 'node:readline/promises';
import { OnewriterError } from '@onewriter/protocol';

/**
 * Makes sure that a person means it: `given` is the name they gave on the command line; without it they are asked to type
 * it, where there is a terminal.
 * @throws OnewriterError CONFIRMATION_REQUIRED
 */
export async function confirmByName(what: string, name: string, given: string | undefined): Promise<void> {
  if (given === name) return;
  if (given === undefined && process.stdin.isTTY && process.stderr.isTTY) {
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      if ((await terminal.question(`This ${what}. Type ${name} to continue: `)).trim() === name) return;
    } finally {
      terminal.close();
    }
  }
  throw new OnewriterError(
    'CONFIRMATION_REQUIRED',
    `This ${what}. Nothing was done. To confirm: --confirm ${name}`,
    {
      name,
    },
  );
}
