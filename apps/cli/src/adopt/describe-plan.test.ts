import { expect, it } from 'vitest';
import { describePlan } from './describe-plan.ts';

it('lets no name in the tree drive the terminal', () => {
  const path = '/srv/app/\u001b]0;title\u0007\n0 blocked\u202e.db';
  const note = { level: 'error', check: 'id', found: `${path} leaves nothing`, next: `See ${path}` } as const;
  const file = { path, name: path, tenant: null, state: 'blocked', notes: [note] } as const;
  const text = describePlan('/srv/app', '{tenant}.db', [file], {
    ...{ apply: false, hiddenProcesses: 0, command: 'onewriter adopt' },
  });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  expect(text).not.toMatch(/^0 blocked/m);
});
