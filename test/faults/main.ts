import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { endAll } from '@onewriter/testkit';
import { Command, InvalidArgumentError } from 'commander';
import { FAULTS } from './faults/index.ts';
import { runFault, summarize } from './run-fault.ts';

/*
 * `npm run test:faults -- --seed N --fault NAME --rounds R`. Exit code 0: every fault was injected, and nothing was
 * found. The seed fixes what clients write and what is done when; the machine's scheduling is its own.
 */

interface CommandLine {
  readonly seed: number;
  readonly fault: readonly string[];
  readonly rounds?: number | undefined;
  readonly list?: boolean | undefined;
  readonly broker?: string | undefined;
  readonly keep?: boolean | undefined;
}

const program = new Command('test:faults')
  .description('Runs faults against real processes and judges what they leave.')
  .option('--seed <number>', 'seed; default: a new one', whole, Math.floor(Math.random() * 2 ** 31))
  .option('--fault <names...>', 'faults to run; default: all', [])
  .option('--rounds <number>', "rounds of each; default: the fault's own", whole)
  .option('--list', 'list the faults')
  .option(
    '--broker <path>',
    "main module of another build of the broker, to see the oracle find what's wrong with it",
  )
  .option('--keep', 'keep the files of a run that found nothing')
  .parse();
const { seed, fault: names, rounds, list, broker, keep } = program.opts<CommandLine>();

const unknown = names.filter(name => !FAULTS.has(name));
if (unknown.length > 0)
  program.error(`No such fault: ${unknown.join(', ')}. There are: ${[...FAULTS.keys()].join(', ')}`);

if (list) {
  for (const { name, rounds: usual, summary } of FAULTS.values()) {
    process.stdout.write(`${name.padEnd(24)} ${String(usual).padStart(4)} rounds  ${summary}\n`);
  }
} else {
  process.on('SIGINT', () => process.exit(130));
  process.on('SIGTERM', () => process.exit(143));
  const failed: string[] = [];
  for (const name of names.length > 0 ? names : FAULTS.keys()) {
    const fault = FAULTS.get(name)!;
    process.stdout.write(`${name} · seed ${seed} · ${fault.summary}\n`);
    const folder = mkdtempSync(join(tmpdir(), `onewriter-fault-${name}-`));
    const report = await runFault(fault, {
      ...{ seed, folder, keep, rounds: rounds ?? fault.rounds },
      brokerMain: broker === undefined ? undefined : resolve(process.env['INIT_CWD'] ?? '.', broker),
      say: line => process.stdout.write(`${line}\n`),
    });
    process.stdout.write(`${summarize(report).join('\n')}\n`);
    if (!report.ok) failed.push(name);
    else if (!keep) rmSync(folder, { recursive: true, force: true });
    endAll();
  }
  process.stdout.write(
    failed.length === 0 ? 'All faults: ok\n' : `FAILED: ${failed.join(', ')} (seed ${seed})\n`,
  );
  process.exitCode = failed.length === 0 ? 0 : 1;
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError('It must be a whole number.');
}
