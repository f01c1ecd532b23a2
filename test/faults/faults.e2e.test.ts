import { temporaryDirectory } from '@onewriter/testkit';
import { expect, it } from 'vitest';
import { FAULTS } from './faults/index.ts';
import { runFault, summarize } from './run-fault.ts';

/*
 * A few rounds of the faults that are cheap and say most. `npm run test:faults` runs all of them for long.
 */

/** The same every time: a failure here can be looked for with `--seed`. */
const SEED = 20_261;

/** A machine that runs tests is slow in ways that the oracle cannot tell from the product; the command judges by 100. */
const SLACK_MS = 300;

const SHORT: readonly (readonly [name: string, rounds: number])[] = [
  ['kill-broker', 4],
  ['pause-leader', 1],
  ['kill-redis-always', 1],
  ['kill-redis-everysec', 1],
  ['network', 5],
  ['events', 1],
  ['duplicates', 1],
  ['redis-memory', 1],
  ['redis-roles', 1],
  ['script-flush', 1],
  ['corrupt-file', 1],
  ['held-file', 2],
  ['open-transaction', 2],
  ['imports', 1],
  ['many-active', 1],
  ['order-of-life', 1],
  ['full-queues', 1],
  ['lost-machine', 2],
  ['lost-machine-sync', 1],
  ['hibernation', 3],
];

it.each(SHORT)('keeps every promise under %s', async (name, rounds) => {
  await using folder = await temporaryDirectory(`fault-${name}`);
  const lines: string[] = [];
  const report = await runFault(FAULTS.get(name)!, {
    ...{ seed: SEED, rounds, folder: folder.path, slackMs: SLACK_MS },
    say: line => lines.push(line),
  });
  expect(report.ok, [...lines, ...summarize(report)].join('\n')).toBe(true);
});
