import type { TenantHolder } from './holders/index.ts';
import { assertTransition, type Transitions } from './state-machine.ts';

/*
 * A tenant's states, by one function for the SDK, gateway, command line and dashboard:
 *
 *           first commit                    a holder comes            the file is closed
 *    new ─────────────────▶ active ──────────────────▶ releasing ─────────▶ paused │ restoring │ deleting │ hibernating
 *     ▲                      │  ▲                                                        │
 *     │      refuses a batch │  │ a batch commits         the last holder lets go        │
 *     │                      ▼  │       active ◀────────────────────────────────────────┤
 *     │                     parked                               deleted (in the trash) ◀┘
 *     └──────────────────────────────────────────────────────────────────┘ a write, or PUT
 *
 * "Active" says that writes are applied, whether the file is open at the moment or not. "Parked" means one thing: the broker has
 * found that the file takes no writes, and tries again. What people stop is paused. A deleted tenant has no state: it is not in
 * the catalogue. The file of a hibernated one lies in the replica; a write or a read has it come back, which is "waking".
 *
 * States are computed from facts (`stateOf`). The broker, which closes and opens the files, asserts each change that it makes
 * (`LIFE_CYCLE`): a file is worked on only after `releasing`, and is written again only after another look at its holders.
 */

export const TENANT_STATES = [
  'new',
  'active',
  'releasing',
  'paused',
  'restoring',
  'deleting',
  'hibernating',
  'hibernated',
  'waking',
  'parked',
] as const;

/**
 * - `new`: it has queued writes and no file yet.
 * - `active`: writes are applied.
 * - `releasing`: it has holders, and the broker has not closed its file yet; writes wait.
 * - `paused`: a person stopped it, or the broker did for its offences; a person resumes it. Writes are refused or wait.
 * - `restoring`, `deleting`: a program works on its file; writes wait.
 * - `hibernating`: a program proves that its file is in the replica, and takes it away; writes wait.
 * - `hibernated`: its file is in the replica only; what comes for it brings it back.
 * - `waking`: something waits for its file, which comes from the replica.
 * - `parked`: its file takes no writes; the broker tries again.
 */
export type TenantState = (typeof TENANT_STATES)[number];

/** States that no tenant has yet, and that have their place in the life-cycle: moves, PostgreSQL. */
export type PlannedTenantState = 'moving' | 'graduated';

/** The changes that the process which has the file open may make. */
export const LIFE_CYCLE: Transitions<TenantState | PlannedTenantState> = {
  new: ['active', 'parked', 'releasing'],
  active: ['parked', 'releasing'],
  parked: ['active', 'releasing'],
  // Its file is closed, or its holders ended before that.
  releasing: [
    ...(['new', 'active', 'parked', 'paused', 'restoring', 'deleting'] as const),
    ...(['hibernating', 'hibernated', 'moving', 'graduated'] as const),
  ],
  // A holder came or ended: its holders are looked at again.
  paused: ['releasing'],
  restoring: ['releasing'],
  deleting: ['releasing'],
  hibernating: ['releasing'],
  moving: ['releasing'],
  graduated: ['releasing'],
  hibernated: ['waking', 'releasing'],
  waking: ['active', 'hibernated', 'releasing'],
};

/** @throws AssertionError where a tenant in the state `from` may not enter `to`; it names both */
export function assertLifeCycle(
  tenant: string,
  from: TenantState | PlannedTenantState,
  to: TenantState | PlannedTenantState,
): void {
  assertTransition(LIFE_CYCLE, `The tenant ${tenant}`, from, to);
}

/** What a state is computed from. */
export interface TenantFacts {
  /** Whether there is a database file. */
  readonly hasFile: boolean;
  /** Whether a note says that its file lies in the replica; false where there is a file. */
  readonly isHibernated: boolean;
  /** Whether jobs wait for it. */
  readonly hasWork: boolean;
  /** Who keeps it still. */
  readonly holders: readonly TenantHolder[];
  /** Whether the broker has closed its file for them. */
  readonly isReleased: boolean;
  /** Whether the broker noted that its file takes no writes. */
  readonly isParked: boolean;
}

/** What a holder makes of a tenant whose file is closed. Others are paused. */
const STATE_OF_HOLDER: Readonly<Record<string, TenantState>> = {
  restore: 'restoring',
  delete: 'deleting',
  create: 'new',
  hibernate: 'hibernating',
};

/** The state of a tenant. */
export function stateOf({
  hasFile,
  isHibernated,
  hasWork,
  holders,
  isReleased,
  isParked,
}: TenantFacts): TenantState {
  if (holders.length > 0) {
    const programs = holders.filter(holder => !endsByPerson(holder));
    // What only keeps others away, as a creation does, has no file to be closed.
    if (programs.some(({ name }) => name !== 'create') && !isReleased) return 'releasing';
    return closedStateOf(programs.map(({ name }) => name));
  }
  if (isParked) return 'parked';
  if (isHibernated) return hasWork ? 'waking' : 'hibernated';
  return hasFile ? 'active' : 'new';
}

/** The state of a tenant whose file is closed. @param holders names of those that keep it still */
export function closedStateOf(holders: readonly string[]): TenantState {
  for (const name of holders) {
    const state = STATE_OF_HOLDER[name];
    if (state !== undefined) return state;
  }
  return 'paused';
}

/** Whether a person ends this hold: a pause, a repeat offender's. The others end with their program. */
export function endsByPerson({ expiresAt }: Pick<TenantHolder, 'expiresAt'>): boolean {
  return expiresAt === null;
}

/** Whether a person has to resume the tenant. */
export function isPausedByPerson(holders: readonly TenantHolder[]): boolean {
  return holders.some(endsByPerson);
}
