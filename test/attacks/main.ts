import { endAll } from '@onewriter/testkit';
import { Command } from 'commander';
import { ATTACKS } from './attacks/index.ts';
import { describeOutcome, judge } from './judge.ts';
import { AttackRig } from './rig.ts';

/*
 * `npm run test:attacks -- --seconds 600 --honest 20`: all attacks at once, in five hostile tenants at a time; with `--each`
 * one after the other. Exit code 0: the honest tenants did not notice.
 */

interface CommandLine {
  readonly attack: readonly string[];
  readonly seconds: string;
  readonly honest: string;
  readonly each?: boolean | undefined;
}

const HOSTILE = 5;

const program = new Command('test:attacks')
  .description('Attacks a running stack with the tokens of hostile tenants.')
  .option('--attack <names...>', 'attacks; default: all', [])
  .option('--seconds <number>', 'of all', '600')
  .option('--honest <number>', 'honest tenants', '20')
  .option('--each', 'one after the other')
  .parse();
const { attack: names, seconds, honest, each } = program.opts<CommandLine>();
const unknown = names.filter(name => !ATTACKS.has(name));
if (unknown.length > 0)
  program.error(`No such attack: ${unknown.join(', ')}. There are: ${[...ATTACKS.keys()].join(', ')}`);

process.on('SIGINT', () => process.exit(130));
process.on('SIGTERM', () => process.exit(143));
const attacks = [...ATTACKS.values()].filter(({ name }) => names.length === 0 || names.includes(name));
const size = each ? 1 : HOSTILE;
const rounds = Array.from({ length: Math.ceil(attacks.length / size) }, (_, index) =>
  attacks.slice(index * size, (index + 1) * size),
);
const rig = await AttackRig.start({ honest: Number(honest), seconds: Number(seconds) / rounds.length / 2 });
let failed = false;
for (const round of rounds) {
  const outcome = await rig.run(round);
  const problems = judge(round, outcome);
  failed ||= problems.length > 0;
  process.stdout.write(
    `${round.map(({ name }) => name).join(' + ')}: ${problems.length === 0 ? 'ok' : problems.join('; ')}\n`,
  );
  process.stdout.write(`  ${describeOutcome(outcome)}\n`);
}
await rig[Symbol.asyncDispose]();
await endAll();
process.exitCode = failed ? 1 : 0;
