import type { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { DropInUses } from './drop-in-uses.ts';

/** A Redis that keeps what it is sent, and fails where `fails` says. */
function setUp() {
  const sent: unknown[][] = [];
  const state = { fails: false };
  const warnings: string[] = [];
  const pipeline = () => {
    const commands: unknown[][] = [];
    return {
      hincrby: (...command: unknown[]) => void commands.push(command),
      expire: (key: string) => void commands.push([key, 'expires']),
      exec: async () => {
        if (state.fails) throw new Error('gone');
        sent.push(...commands);
        return commands.map(() => [null, 1]);
      },
    };
  };
  const redis = { pipeline } as unknown as Pick<Redis, 'pipeline'>;
  const uses = new DropInUses(redis, 'default', { warn: (_, message) => void warnings.push(message) });
  return { uses, sent, state, warnings };
}

const KEY = 'ow:{default}:drop-in-uses';

it('adds what was counted, by tenant', async () => {
  const { uses, sent } = setUp();
  uses.count('strings', 'acme', 1);
  uses.count('strings', 'acme', 2);
  uses.count('ddl', 'globex', 1);
  await uses.close();
  expect(sent).toEqual([
    [KEY, 'strings:acme', 3],
    [KEY, 'ddl:globex', 1],
    [KEY, 'expires'],
  ]);
  expect(uses.totals).toEqual({ strings: 3, ddl: 1 });
  await uses.flush();
  expect(sent).toHaveLength(3);
});

it('keeps the counts while Redis does not answer, and says so', async () => {
  const { uses, sent, state, warnings } = setUp();
  state.fails = true;
  uses.count('ddl', 'acme', 1);
  await uses.flush();
  expect(warnings).toHaveLength(1);
  uses.count('ddl', 'acme', 1);
  state.fails = false;
  await uses.close();
  expect(sent[0]).toEqual([KEY, 'ddl:acme', 2]);
});
