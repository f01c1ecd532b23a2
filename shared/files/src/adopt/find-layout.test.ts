import { expect, it } from 'vitest';
import { findLayout } from './find-layout.ts';

const layoutOf = (...paths: string[]) => {
  const layout = findLayout(paths.map(path => path.split('/')));
  return 'pattern' in layout ? layout.pattern.text : layout.choices;
};

it.each([
  ['{tenant}.db', ['acme.db', 'beta.db']],
  ['{tenant}.*', ['acme.db', 'beta.sqlite']],
  ['{tenant}/main.db', ['acme/main.db', 'beta/main.db']],
  ['{tenant}/*.db', ['acme/acme.db', 'beta/beta.db']],
  ['tenants/{tenant}.db', ['tenants/acme.db', 'tenants/beta.db']],
  ['tenants/{tenant}/kanban.db', ['tenants/acme/kanban.db', 'tenants/beta/kanban.db']],
  ['*/{tenant}/a.db', ['s1/acme/a.db', 's2/beta/a.db']],
  ['{tenant}/data/a.db', ['acme/data/a.db', 'beta/data/a.db']],
])('finds %s', (pattern, paths) => {
  expect(layoutOf(...paths)).toBe(pattern);
});

it('guesses nothing: it lists what could be meant', () => {
  expect(layoutOf('acme/main.db')).toEqual([
    { pattern: '{tenant}/main.db', files: 1 },
    { pattern: 'acme/{tenant}.db', files: 1 },
  ]);
  expect(layoutOf('users.db', 'acme/main.db', 'beta/main.db')).toEqual([
    { pattern: '{tenant}.db', files: 1 },
    { pattern: '{tenant}/main.db', files: 2 },
  ]);
  expect(layoutOf('acme/main.db', 'acme/cache.db', 'beta/main.db', 'beta/cache.db')).toEqual([
    { pattern: '{tenant}/main.db', files: 2 },
    { pattern: '{tenant}/cache.db', files: 2 },
    { pattern: '*/{tenant}.db', files: 4 },
  ]);
});
