import { appendFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { INTERFACES, type InterfaceName } from './interfaces.ts';
import { type CorpusFile, findCorpusFiles } from './read-corpus.ts';
import { runCorpus } from './run-corpus.ts';
import { Summary } from './summary.ts';

/*
 * `npm run test:corpus -- <path>`. Exit code 0: everything was equal, refused by a rule or documented; 1: something was
 * different, or was given up; 2: the command line is wrong.
 */

interface CommandLine {
  readonly through: readonly InterfaceName[];
  readonly limit: number;
  readonly jobs: number;
  readonly out?: string | undefined;
  readonly json?: boolean | undefined;
  readonly plain: readonly string[];
}

const program = new Command('test:corpus')
  .description('Runs the statements of a corpus through Onewriter and on plain SQLite, and compares.')
  .argument('<path>', "folder with *.test files, or one: sqllogictest's, or SQLite's own tests")
  .option('--through <interface>', `${INTERFACES.join(', ')} or all`, readInterface, INTERFACES)
  .option('--limit <number>', 'statements of each file, at most', whole, Number.MAX_SAFE_INTEGER)
  .option('--jobs <number>', 'files at a time', whole, 2 * availableParallelism())
  .option('--out <file>', 'write every difference there, a line of JSON each')
  .option('--json', 'print totals and examples as JSON')
  .option('--plain <pragma...>', 'a setting of plain SQLite, to see the command find what is different', [])
  .configureOutput({ writeErr: text => process.stderr.write(text) })
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse();
const { through, limit, jobs, out, json, plain } = program.opts<CommandLine>();
const here = process.env['INIT_CWD'] ?? '.';
const path = resolve(here, program.args[0]!);
const outFile = out === undefined ? undefined : resolve(here, out);

const files = findFiles();
if (files.length === 0) program.error(`There is no *.test file in ${path}.`);
if (outFile !== undefined) writeFileSync(outFile, '');

const started = performance.now();
const summary = new Summary();
let reports = 0;
// A run takes long: what was found up to here is printed.
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143 })) {
  process.on(signal, () => {
    const seconds = (performance.now() - started) / 1_000;
    process.stdout.write(
      summary.toText({ unknownFiles: [], givenUp: ['the files that were left'] }, seconds),
    );
    process.exit(code);
  });
}
const run = await runCorpus({
  ...{ files, interfaces: through, limit, lanes: jobs, pragmas: plain },
  onReport: report => {
    summary.add(report);
    if (outFile !== undefined) {
      appendFileSync(
        outFile,
        report.differences.map(difference => `${JSON.stringify(difference)}\n`).join(''),
      );
    }
    if (process.stderr.isTTY)
      process.stderr.write(`\r${++reports} of ${files.length * through.length} files`);
  },
  onTrouble: line => process.stderr.write(`${line}\n`),
});
const seconds = (performance.now() - started) / 1_000;
if (json) {
  const { totals, skipped } = summary;
  process.stdout.write(`${JSON.stringify({ interfaces: totals, skipped, ...run, seconds })}\n`);
} else process.stdout.write(summary.toText(run, seconds));
process.exitCode = summary.different === 0 && run.givenUp.length === 0 ? 0 : 1;

function findFiles(): CorpusFile[] {
  try {
    return findCorpusFiles(path);
  } catch (error) {
    return program.error(`${path} cannot be read: ${(error as Error).message}`);
  }
}

function readInterface(text: string): readonly InterfaceName[] {
  if (text === 'all') return INTERFACES;
  const names = text.split(',').filter(name => name !== '');
  for (const name of names) {
    if (!(INTERFACES as readonly string[]).includes(name)) {
      throw new InvalidArgumentError(`It must be ${INTERFACES.join(', ')} or all.`);
    }
  }
  return names as InterfaceName[];
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a whole number above 0.');
}
