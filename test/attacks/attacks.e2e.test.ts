import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ATTACKS } from './attacks/index.ts';
import { BOUNDS, describeOutcome, judge, MAPPED_MIB } from './judge.ts';
import { type Attack, AttackRig, type Honest, type Offender } from './rig.ts';

/* Each attack for a few seconds; `npm run test:attacks` runs all of them at once for ten minutes. */

/** Other tests run beside these: what they take of two cores is not the attack's. */
const BESIDE_OTHERS = { ...BOUNDS, leastMs: 1_000, largeMs: 3_000, stallRatio: 3 };
/** The least that may be set: in a few seconds beside other tests a read does not fill the usual one. */
const READ_MIB = 256;
const SETTINGS = { ONEWRITER_READ_MEMORY_BYTES: String(READ_MIB * 2 ** 20) };

let rig: AttackRig;
beforeAll(async () => {
  rig = await AttackRig.start({ honest: 4, seconds: 2, isQuietOnce: true, settings: SETTINGS });
});
afterAll(async () => {
  await rig?.[Symbol.asyncDispose]();
});

describe('the verdict', () => {
  const honest: Honest = {
    ...{ requests: 1, p50: 1, p99: 1, worst: 1, worstOf: 'read', largeP99: 1 },
    ...{ stalledMs: 0, errors: {} },
  };
  const attack = ATTACKS.get('endless-write')!;
  const judgeAfter = (seconds: number, state?: Offender['state'], beside: readonly Attack[] = []) => {
    const offender = state && { tenant: 'hostile-endless-write-0', times: 2, state };
    const offenders = new Map(offender && [[attack.name, offender]]);
    const outcome = { quiet: honest, attacked: honest, peakMib: {}, replaced: [], seconds, offenders };
    return { problems: judge([attack, ...beside], outcome), line: describeOutcome(outcome) };
  };

  it('says which attackers the broker has throttled and held, and wants it of endless writes', () => {
    expect(judgeAfter(3)).toMatchObject({ problems: [], line: expect.not.stringContaining('hostile') });
    expect(judgeAfter(40, 'noted').problems).toEqual([
      'the tenant of endless-write was not throttled after 40 s',
    ]);
    expect(judgeAfter(40, 'throttled').line).toContain('hostile-endless-write-0: throttled, 2 offences');
    expect(judgeAfter(40, 'throttled').problems).toEqual([]);
    expect(judgeAfter(150, 'throttled').problems).toEqual([
      'the tenant of endless-write was not held after 150 s',
    ]);
    expect(judgeAfter(150, 'held').problems).toEqual([]);
    // Two of them run apart in turns.
    const another = { ...attack, offender: undefined };
    expect(judgeAfter(40, 'noted', [another]).problems).toHaveLength(1);
    expect(judgeAfter(40, 'noted', [attack]).problems).toEqual([]);
  });
});

describe('other tenants are not hurt by', () => {
  it.each([...ATTACKS.values()].map(attack => [attack.name, attack] as const))('%s', async (_, attack) => {
    const outcome = await rig.run([attack]);
    const mib = { ...BOUNDS.mib, child: READ_MIB + MAPPED_MIB };
    expect(judge([attack], outcome, { ...BESIDE_OTHERS, mib }), describeOutcome(outcome)).toEqual([]);
  });
});
