import { describe, expect, it } from 'vitest';
import { addReason, MAX_REASON_LENGTH } from './pause-tenant.ts';

const first = { who: 'ada', reason: 'a move', since: 1 };

describe('a second pause', () => {
  it.each([
    ['without a reason keeps the first', { who: 'bob', reason: '' }, 'a move'],
    ['with the same reason, too', { who: 'bob', reason: 'a move' }, 'a move'],
    [
      'with another reason adds it, with who says so',
      { who: 'bob', reason: 'a bill' },
      'a move; bob: a bill',
    ],
    ['of the same person adds the reason alone', { who: 'ada', reason: 'a bill' }, 'a move; a bill'],
    [
      'whose reason does not fit keeps the first',
      { who: 'bob', reason: 'x'.repeat(MAX_REASON_LENGTH) },
      'a move',
    ],
  ])('%s', (_what, second, reason) => {
    expect(addReason(first, { ...second, since: 2 })).toEqual({ who: 'ada', reason, since: 1 });
  });

  it('gives the first its reason where that had none', () => {
    expect(addReason({ ...first, reason: '' }, { who: 'ada', reason: 'a bill', since: 2 }).reason).toBe(
      'a bill',
    );
  });
});
