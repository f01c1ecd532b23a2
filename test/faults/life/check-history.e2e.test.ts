import { describe, expect, it } from 'vitest';
import { checkHistory, type FindingKind, stateAfter } from './check-history.ts';
import type {
  Call,
  Change,
  KeptCall,
  LifeCall,
  PositionCall,
  ReadCall,
  ReceiptCall,
  Whole,
  WriteCall,
} from './history.ts';

/*
 * A history that is right, and each way in which one can be wrong. Ticks are counted explicitly:
 *
 *   incarnation `a`    w1 w2 w3 w4 w5     created at 1, backed up after w2, replaced at 60 by that backup
 *   incarnation `a/r`  w1 w2 w6 w7        deleted at 90
 *   incarnation `b`    w8 w9              until the end
 */

const TENANT = 't';
const append = (id: number, list = 'x'): Change => ({ appends: [{ list, value: `${id}.0` }] });
const W1 = append(1);
const W2: Change = {
  appends: [
    { list: 'x', value: '2.0' },
    { list: 'y', value: '2.1' },
  ],
};
const W3: Change = { appends: [{ list: 'r0', value: '3.0' }], sets: [{ register: 0, value: '3.0' }] };
const W4: Change = { appends: [{ list: 'r0', value: '4.0' }], sets: [{ register: 0, value: '4.0' }] };
const W5: Change = { appends: [{ list: 'y', value: '5.0' }], transfer: { from: 0, to: 1, amount: 50 } };
const [W6, W7, W8, W9] = [append(6), append(7), append(8), append(9)];

const write = (id: number, change: Change, invoked: number, more: Partial<WriteCall> = {}): WriteCall => ({
  ...{ kind: 'write', id, tenant: TENANT, caller: 'c', door: 'sdk.run', change, inOrder: true },
  ...{ invoked, completed: invoked + 3, outcome: 'committed' },
  ...more,
});
const read = (at: number, seen: ReadCall['seen']): ReadCall => ({
  ...{ kind: 'read', tenant: TENANT, door: 'sdk read', invoked: at, completed: at + 1, seen },
});
const whole = (at: number, state: Whole): ReadCall => read(at, { kind: 'whole', ...state });
const life = (invoked: number, incarnation: string, more: Partial<LifeCall> = {}): LifeCall => ({
  ...{ kind: 'life', tenant: TENANT, what: 'create', incarnation, invoked, completed: invoked + 5 },
  ...more,
});
const kept = (at: number, state: Whole): KeptCall => ({
  ...{ kind: 'kept', tenant: TENANT, invoked: at, completed: at, state },
});
const receipt = (at: number, of: number, state: ReceiptCall['state']): ReceiptCall => ({
  ...{ kind: 'receipt', tenant: TENANT, invoked: at, completed: at + 1, of, state },
});

const position = (invoked: number, of: string, at: string, event: string): PositionCall => ({
  ...{ kind: 'position', tenant: TENANT, invoked, completed: invoked + 1, of, at, event },
});

const A = (...changes: Change[]) => stateAfter('a', changes, changes.length);
const RESTORED = (...changes: Change[]) => stateAfter('a/r', changes, 4 + changes.length);
const B = (...changes: Change[]) => stateAfter('b', changes, changes.length);

/** Right from the beginning to the end. */
function rightHistory(): Call[] {
  return [
    life(1, 'a'),
    write(1, W1, 10, { commitSeq: 1 }),
    write(2, W2, 14, { commitSeq: 2 }),
    whole(18, A(W1, W2)),
    write(3, W3, 20, { commitSeq: 3 }),
    write(4, W4, 30, {
      ...{ door: 'sdk.open', commitSeq: 4, expected: { register: 0, value: '3.0' } },
      ...{ before: A(W1, W2, W3), after: A(W1, W2, W3, W4) },
    }),
    read(36, { kind: 'register', register: 0, value: '4.0' }),
    read(38, { kind: 'list', list: 'x', values: ['1.0', '2.0'] }),
    write(5, W5, 40, { commitSeq: 5 }),
    whole(50, A(W1, W2, W3, W4, W5)),
    receipt(52, 5, 'committed'),
    life(60, 'a/r', { what: 'replace', base: A(W1, W2), commitSeq: 6 }),
    kept(66, A(W1, W2, W3, W4, W5)),
    whole(68, RESTORED(W1, W2)),
    receipt(70, 5, 'unknown'),
    write(6, W6, 72, { commitSeq: 7 }),
    write(7, W7, 76, { commitSeq: 8 }),
    whole(82, RESTORED(W1, W2, W6, W7)),
    life(90, 'b'),
    kept(96, RESTORED(W1, W2, W6, W7)),
    write(8, W8, 100, { commitSeq: 1 }),
    receipt(104, 7, 'unknown'),
    position(106, 'a/r', 'b', 'gap'),
    position(108, 'b', 'b', 'ready'),
    write(9, W9, 110, { commitSeq: 2 }),
    whole(116, B(W8, W9)),
    kept(120, B(W8, W9)),
  ];
}

type OfKind<Kind extends Call['kind']> = Extract<Call, { kind: Kind }>;

/** The right history with one call changed; `undefined` removes it. */
function mutate<Kind extends Call['kind']>(
  kind: Kind,
  which: (call: OfKind<Kind>) => boolean,
  change: (call: OfKind<Kind>) => Call | undefined,
): Call[] {
  let changed = 0;
  const calls = rightHistory().flatMap(call => {
    if (call.kind !== kind || !which(call as OfKind<Kind>)) return [call];
    changed++;
    const other = change(call as OfKind<Kind>);
    return other === undefined ? [] : [other];
  });
  expect(changed).toBe(1);
  return calls;
}

const mutateWrite = (id: number, change: Partial<WriteCall>) =>
  mutate(
    'write',
    call => call.id === id,
    call => ({ ...call, ...change }),
  );
/** What the last state of a file is. */
const mutateKept = (incarnation: string, state: Partial<Whole>) =>
  mutate(
    'kept',
    call => call.state.incarnation === incarnation,
    call => ({ ...call, state: { ...call.state, ...state } }),
  );
const mutateRead = (at: number, seen: Partial<Whole> | ReadCall['seen']) =>
  mutate(
    'read',
    call => call.invoked === at,
    call => ({ ...call, seen: { ...call.seen, ...seen } as ReadCall['seen'] }),
  );
const add = (...calls: Call[]) => [...rightHistory(), ...calls];

const kindsOf = (calls: readonly Call[]): FindingKind[] => [
  ...new Set(checkHistory(calls).map(({ kind }) => kind)),
];

it('finds nothing in a history that is right', () => {
  expect(checkHistory(rightHistory())).toEqual([]);
});

it('leaves room where calls overlap', () => {
  const calls = [
    ...add(
      // Over the restore: before it and after it.
      { ...whole(59, A(W1, W2, W3, W4, W5)), completed: 67 },
      { ...whole(61, RESTORED(W1, W2)), completed: 63 },
      // Over a write.
      { ...whole(41, A(W1, W2, W3, W4)), completed: 47 },
    ),
  ];
  expect(checkHistory(calls)).toEqual([]);
});

it('lets reads see the new file and the last state of the old while a restore is under way, and no longer', () => {
  const seesNew = { ...whole(61, RESTORED(W1, W2)), completed: 62 };
  const old = A(W1, W2, W3, W4, W5);
  expect(checkHistory(add(seesNew, { ...whole(63, old), completed: 64 }))).toEqual([]);
  expect(kindsOf(add(seesNew, { ...whole(63, A(W1, W2, W3, W4)), completed: 64 }))).toEqual(['stale']);
  expect(kindsOf(add(seesNew, { ...whole(66, old), completed: 67 }))).toEqual(['stale']);
  const longer = (calls: Call[]) =>
    calls.map(call =>
      call.kind === 'life' && call.incarnation === 'a/r' ? { ...call, completed: 85 } : call,
    );
  expect(checkHistory(longer(rightHistory()))).toEqual([]);
  // A write to the new file was acknowledged at 75.
  expect(kindsOf(longer(add({ ...whole(80, old), completed: 81 })))).toEqual(['stale']);
});

it('lets a write whose outcome is not known be there later, or not at all', () => {
  const unknown: Partial<WriteCall> = { outcome: 'unknown', code: 'OUTCOME_UNKNOWN', commitSeq: undefined };
  expect(checkHistory(add(write(20, append(20), 112, { ...unknown, caller: 'd' })))).toEqual([]);
  expect(checkHistory(mutateWrite(9, { ...unknown, invoked: 105, completed: 106 }))).toEqual([]);
});

it('lets a write that was acknowledged before the restore vanish with it, and only with it', () => {
  // w5 is in the file that was put aside.
  expect(checkHistory(rightHistory())).toEqual([]);
  const withoutW5 = { log: A(W1, W2, W3, W4).log, balances: A().balances, seq: 4 };
  const calls = mutateKept('a', withoutW5).filter(({ invoked }) => invoked !== 50 && invoked !== 52);
  expect(kindsOf(calls)).toContain('lost');
});

describe('finds', () => {
  const cases: readonly (readonly [what: string, kind: FindingKind, calls: () => Call[]])[] = [
    ['an append that was acknowledged and is nowhere', 'lost', () => add(write(20, append(20), 112))],
    [
      'a write that was acknowledged after a restore, and that is not in what was restored',
      'lost',
      () => {
        const calls = mutateKept('a/r', RESTORED(W1, W2, W6));
        return calls.filter(({ invoked }) => invoked !== 82 && invoked !== 104);
      },
    ],
    [
      'a write that was issued after a restore, and is in the file before it',
      'out-of-time',
      () => {
        const calls = mutateKept('a', A(W1, W2, W3, W4, W5, W7));
        return calls.map(call =>
          call.kind === 'kept' && call.state.incarnation === 'a/r'
            ? { ...call, state: RESTORED(W1, W2, W6) }
            : call,
        );
      },
    ],
    [
      'a write of the file before that was acknowledged with a number of the restored one',
      'number',
      () => mutateWrite(5, { commitSeq: 7 }),
    ],
    [
      'a write of the restored file that was acknowledged with a number of the one before',
      'vanished',
      () => mutateWrite(6, { commitSeq: 5 }),
    ],
    [
      'an append that is there twice',
      'doubled',
      () => mutateKept('b', { log: [...B(W8, W9).log, 'x 2 8.0'], seq: 3 }),
    ],
    [
      'a write that was reported failed',
      'false-failure',
      () => mutateWrite(9, { outcome: 'failed', code: 'TIMEOUT', retryable: true, commitSeq: undefined }),
    ],
    [
      'a compare-and-set that was refused, and took place',
      'false-failure',
      () => mutateWrite(4, { outcome: 'refused', expected: { register: 0, value: '1.0' } }),
    ],
    [
      'an element that no write appended',
      'unknown-row',
      () => mutateKept('b', { log: [...B(W8, W9).log, 'x 2 99.0'] }),
    ],
    [
      'a half of a transaction in a file',
      'partial',
      () => mutateKept('a', { log: A(W1, W2, W3, W4, W5).log.filter(row => !row.includes('2.1')) }),
    ],
    [
      'an append that did not see the one before it',
      'misplaced',
      () => mutateKept('b', { log: ['x 0 8.0', 'x 0 9.0'] }),
    ],
    ['a half of a transaction in a read', 'torn', () => mutateRead(18, { log: A(W1, W2).log.slice(0, 2) })],
    [
      'a half of a transfer in a read',
      'torn',
      () =>
        mutateRead(50, {
          balances: A(W1).balances.map((balance, id) => (id === 0 ? balance - 50 : balance)),
        }),
    ],
    [
      'a sum that is not that of the beginning',
      'balance',
      () => add(read(118, { kind: 'balances', balances: [1_000, 1_000, 1_000, 950] })),
    ],
    [
      'a read of two files: elements of one, registers of the other',
      'torn',
      () => mutateRead(68, { registers: A(W1, W2, W3).registers }),
    ],
    [
      'a read of two files: named after one, elements of the other',
      'torn',
      () => mutateRead(116, { log: RESTORED(W1, W2, W6, W7).log }),
    ],
    [
      'a list that begins as in one file and ends as in another',
      'torn',
      () => add(read(118, { kind: 'list', list: 'x', values: ['1.0', '8.0'] })),
    ],
    [
      'a list in another order',
      'torn',
      () => mutateRead(38, { kind: 'list', list: 'x', values: ['2.0', '1.0'] }),
    ],
    [
      'a register that was never so',
      'torn',
      () => mutateRead(36, { kind: 'register', register: 0, value: '1.0' }),
    ],
    ['a file that no operation made', 'torn', () => mutateRead(116, { incarnation: 'c' })],
    ['a read that misses a write acknowledged before', 'stale', () => mutateRead(50, A(W1, W2, W3, W4))],
    [
      'a register as it was before a write acknowledged before',
      'stale',
      () => mutateRead(36, { kind: 'register', register: 0, value: '3.0' }),
    ],
    [
      'a list as it was before a write acknowledged before',
      'stale',
      () => mutateRead(38, { kind: 'list', list: 'x', values: ['1.0'] }),
    ],
    [
      'a read that goes back behind another read',
      'stale',
      () => [
        ...mutateWrite(5, { completed: 57 }),
        whole(54, A(W1, W2, W3, W4)), // w5 is still under way, and was seen at 50
      ],
    ],
    ['a read of the file before a restore', 'stale', () => mutateRead(68, A(W1, W2, W3, W4, W5))],
    ['a read of the file before a deletion', 'stale', () => mutateRead(116, RESTORED(W1, W2, W6, W7))],
    [
      'a compare-and-set that was refused although the register had the value',
      'stale',
      () =>
        add(
          write(
            20,
            { appends: [{ list: 'r0', value: '20.0' }], sets: [{ register: 0, value: '20.0' }] },
            112,
            {
              ...{ outcome: 'refused', expected: { register: 0, value: '' } },
            },
          ),
        ),
    ],
    [
      'a write that was seen before it was issued',
      'out-of-time',
      () => mutateWrite(9, { invoked: 118, completed: 119 }),
    ],
    [
      'writes in another order than that of time',
      'out-of-time',
      () => {
        const swapped = B(W9, W8);
        const calls = mutateKept('b', { log: swapped.log }).filter(({ invoked }) => invoked !== 116);
        return calls.map(call => (call.kind === 'write' ? { ...call, caller: `c${call.id}` } : call));
      },
    ],
    [
      'writes of one client in another order than that of issue, though they overlap',
      'reordered',
      () => {
        const calls = mutateKept('b', { log: B(W9, W8).log }).filter(({ invoked }) => invoked !== 116);
        return calls.map(call =>
          call.kind === 'write' && call.id === 8 ? { ...call, completed: 115, commitSeq: undefined } : call,
        );
      },
    ],
    [
      'a transaction that read another state than it changed',
      'not-isolated',
      () => mutateWrite(4, { before: A(W1, W2) }),
    ],
    [
      'a transaction begun in one file, and committed in another',
      'not-isolated',
      () => mutateWrite(6, { before: A(W1, W2) }),
    ],
    [
      'a compare-and-set that took place with another value',
      'not-isolated',
      () => mutateWrite(4, { expected: { register: 0, value: '' } }),
    ],
    [
      'a restore that is not the backup',
      'wrong-base',
      () =>
        mutate(
          'life',
          call => call.incarnation === 'a/r',
          call => ({ ...call, base: A(W1, W2, W3) }),
        ),
    ],
    ['a commit number that stands for two states', 'number', () => mutateRead(50, { seq: 2 })],
    ['commit numbers that run backwards', 'number', () => mutateWrite(4, { commitSeq: 2 })],
    [
      'a number that was seen without a write acknowledged with it',
      'number',
      () => mutateRead(18, { ...A(W1, W2), seq: 3 }),
    ],
    [
      'a restore whose number the replaced file had',
      'number',
      () =>
        mutate(
          'life',
          call => call.incarnation === 'a/r',
          call => ({ ...call, commitSeq: 5 }),
        ),
    ],
    [
      'a receipt of the deleted tenant that claims a commit of the new one',
      'wrong-receipt',
      () => add(receipt(118, 7, 'committed')),
    ],
    ['a receipt that does not know what is there', 'wrong-receipt', () => add(receipt(118, 9, 'unknown'))],
    [
      'a position of the deleted tenant that is taken for one of the new',
      'wrong-position',
      () =>
        mutate(
          'position',
          call => call.of === 'a/r',
          call => ({ ...call, event: 'ready' }),
        ),
    ],
    [
      'a gap where there is none',
      'wrong-position',
      () =>
        mutate(
          'position',
          call => call.of === 'b',
          call => ({ ...call, event: 'gap' }),
        ),
    ],
    [
      'a failure for which there is no reason',
      'wrong-code',
      () =>
        add({
          kind: 'failed-read',
          tenant: TENANT,
          invoked: 117,
          completed: 118,
          door: 'd',
          code: 'SQL_ERROR',
        }),
    ],
    [
      'a file whose last state is not known',
      'incomplete',
      () =>
        mutate(
          'kept',
          call => call.state.incarnation === 'a',
          () => undefined,
        ),
    ],
    ['nothing at all', 'incomplete', () => [life(1, 'a'), kept(9, A())]],
  ];
  it.each(cases)('%s', (_, kind, calls) => {
    expect(kindsOf(calls())).toContain(kind);
  });
});

it('lets a receipt be unknown while the tenant may not be there', () => {
  const unknown = receipt(118, 9, 'unknown');
  const absence = { kind: 'absence', tenant: TENANT, invoked: 117, completed: 119 } as const;
  expect(checkHistory(add(absence, unknown))).toEqual([]);
  expect(kindsOf(add({ ...absence, completed: 117.5 }, unknown))).toEqual(['wrong-receipt']);
});

it('lets a compare-and-set whose outcome is not known be committed without a change, where the register had another value', () => {
  const change: Change = {
    appends: [{ list: 'r0', value: '20.0' }],
    sets: [{ register: 0, value: '20.0' }],
  };
  const unknown = (value: string): Call[] => [
    write(20, change, 112, {
      ...{ outcome: 'unknown', code: 'OUTCOME_UNKNOWN', expected: { register: 0, value } },
    }),
    receipt(118, 20, 'committed'),
  ];
  expect(checkHistory(add(...unknown('3.0')))).toEqual([]);
  // No write to `b` changed the register: it had what was expected, and no file has the write.
  expect(kindsOf(add(...unknown('')))).toEqual(['wrong-receipt']);
});

it('excuses a failure while the tenant may not be there', () => {
  const absence = { kind: 'absence', tenant: TENANT, invoked: 117, completed: 119 } as const;
  const failed = { kind: 'failed-read', tenant: TENANT, door: 'd', code: 'TENANT_NOT_FOUND' } as const;
  expect(checkHistory(add(absence, { ...failed, invoked: 118, completed: 121 }))).toEqual([]);
  expect(kindsOf(add(absence, { ...failed, invoked: 121, completed: 122 }))).toEqual(['wrong-code']);
});
