import { describe, expect, it } from 'vitest';
import type { TenantHolder } from './holders/index.ts';
import { isPausedByPerson, stateOf, type TenantFacts, type TenantState } from './life-cycle.ts';

const holder = (name: string, expiresAt: string | null): TenantHolder => ({
  ...{ name, reason: '', who: 'ada', since: '2026-11-21T00:00:00.000Z', expiresAt },
});
const PERSON = holder('pause', null);
const OFFENDER = holder('repeat-offender', null);
const program = (name: string) => holder(name, '2026-11-21T00:00:30.000Z');

const QUIET: TenantFacts = { hasFile: true, holders: [], isReleased: false, isParked: false };

describe('the state of a tenant', () => {
  const cases: readonly (readonly [state: TenantState, what: string, facts: Partial<TenantFacts>])[] = [
    ['active', 'with a file', {}],
    ['new', 'without one', { hasFile: false }],
    ['parked', 'whose file takes no writes', { isParked: true }],
    ['paused', 'that a person paused', { holders: [PERSON] }],
    ['paused', 'that a person paused, and whose file takes no writes', { holders: [PERSON], isParked: true }],
    ['paused', 'that the broker paused for its offences', { holders: [OFFENDER] }],
    ['releasing', 'whose file is closed for a pause', { holders: [PERSON, program('pause')] }],
    ['paused', 'whose file is closed', { holders: [PERSON, program('pause')], isReleased: true }],
    ['releasing', 'whose file is closed for a restore', { holders: [program('restore')] }],
    ['restoring', 'whose file a restore replaces', { holders: [program('restore')], isReleased: true }],
    ['restoring', 'paused meanwhile', { holders: [PERSON, program('restore')], isReleased: true }],
    ['deleting', 'that is deleted', { holders: [program('delete')], isReleased: true }],
    ['new', 'that is created', { hasFile: false, holders: [program('create')] }],
    [
      'paused',
      'that an operation of a newer version holds',
      { holders: [program('move')], isReleased: true },
    ],
  ];
  it.each(cases)('is %s for one %s', (state, _, facts) => {
    expect(stateOf({ ...QUIET, ...facts })).toBe(state);
  });
});

it('waits for a person only where one holds it', () => {
  expect(isPausedByPerson([program('restore')])).toBe(false);
  expect(isPausedByPerson([program('restore'), PERSON])).toBe(true);
});
