import { describe, expect, it } from 'vitest';
import type { TenantHolder } from './holders/index.ts';
import {
  assertLifeCycle,
  isPausedByPerson,
  LIFE_CYCLE,
  type PlannedTenantState,
  stateOf,
  TENANT_STATES,
  type TenantFacts,
  type TenantState,
} from './tenant-state.ts';

const holder = (name: string, expiresAt: string | null): TenantHolder => ({
  ...{ name, reason: '', who: 'ada', since: '2026-11-21T00:00:00.000Z', expiresAt },
});
const PERSON = holder('pause', null);
const OFFENDER = holder('repeat-offender', null);
const program = (name: string) => holder(name, '2026-11-21T00:00:30.000Z');

const QUIET: TenantFacts = {
  ...{ hasFile: true, isHibernated: false, hasWork: false, holders: [], isReleased: false, isParked: false },
};
const AWAY = { hasFile: false, isHibernated: true };

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
    ['hibernated', 'whose file lies in the replica', AWAY],
    ['waking', 'whose file something waits for', { ...AWAY, hasWork: true }],
    ['parked', 'whose file does not come', { ...AWAY, hasWork: true, isParked: true }],
    ['hibernating', 'whose file is taken away', { holders: [program('hibernate')], isReleased: true }],
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

describe('the life-cycle of a tenant', () => {
  const all = Object.keys(LIFE_CYCLE) as (TenantState | PlannedTenantState)[];
  const closed = ['paused', 'restoring', 'deleting', 'moving', 'hibernated', 'graduated'] as const;

  it('has each state, now and to come, and reaches it from new', () => {
    expect(all).toEqual(
      expect.arrayContaining([...TENANT_STATES, 'hibernated', 'waking', 'moving', 'graduated']),
    );
    const reached = new Set<string>(['new']);
    for (const state of reached) for (const next of LIFE_CYCLE[state as TenantState]) reached.add(next);
    expect([...reached].sort()).toEqual([...all].sort());
  });

  it.each(closed)('closes the file before %s, and looks at the holders before the next write', state => {
    for (const from of all) {
      const isAllowed = from === 'releasing' || (from === 'waking' && state === 'hibernated');
      expect(LIFE_CYCLE[from].includes(state), `${from} to ${state}`).toBe(isAllowed);
    }
    expect(LIFE_CYCLE[state]).not.toContain('active');
  });

  it('refuses any other change, and names both states', () => {
    expect(() => assertLifeCycle('acme', 'active', 'restoring')).toThrow(
      'The tenant acme cannot go from "active" to "restoring".',
    );
    expect(() => assertLifeCycle('acme', 'active', 'releasing')).not.toThrow();
  });
});
