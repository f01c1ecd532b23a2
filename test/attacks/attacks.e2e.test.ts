import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ATTACKS } from './attacks/index.ts';
import { BOUNDS, describeOutcome, judge } from './judge.ts';
import { AttackRig } from './rig.ts';

/* Each attack for a few seconds; `npm run test:attacks` runs all of them at once for ten minutes. */

/** Other tests run beside these: what they take of two cores is not the attack's. */
const BESIDE_OTHERS = { ...BOUNDS, leastMs: 1_000, stallRatio: 3 };

let rig: AttackRig;
beforeAll(async () => {
  rig = await AttackRig.start({ honest: 4, seconds: 3 });
});
afterAll(async () => {
  await rig?.[Symbol.asyncDispose]();
});

describe('other tenants are not hurt by', () => {
  it.each([...ATTACKS.values()].map(attack => [attack.name, attack] as const))('%s', async (_, attack) => {
    const outcome = await rig.run([attack]);
    expect(judge([attack], outcome, BESIDE_OTHERS), describeOutcome(outcome)).toEqual([]);
  });
});
