import { describe, expect, it } from 'vitest';
import { fillPattern, matchesSoFar, parsePattern, tenantNameIn } from './tree-pattern.ts';

const nameIn = (pattern: string, path: string) => tenantNameIn(parsePattern(pattern), path.split('/'));

describe('a pattern of a tree', () => {
  it.each([
    ['tenants/{tenant}/kanban.db', 'tenants/acme/kanban.db', 'acme'],
    ['tenants/{tenant}/kanban.db', 'tenants/acme/other.db', undefined],
    ['tenants/{tenant}/kanban.db', 'tenants/acme/deep/kanban.db', undefined],
    ['{tenant}.db', 'Acme GmbH.db', 'Acme GmbH'],
    ['{tenant}.db', '.db', undefined],
    ['{tenant}.db', 'acmeXdb', undefined],
    ['*/db-{tenant}.sqlite*', 'shard-1/db-acme.sqlite3', 'acme'],
    ['{tenant}', 'acme', 'acme'],
    ['{tenant}', 'acme-wal', undefined],
    ['{tenant}', 'acme-journal', undefined],
  ])('%s finds in %s the tenant %s', (pattern, path, tenant) => {
    expect(nameIn(pattern, path)).toBe(tenant);
  });

  it('leads into those folders alone that it may match', () => {
    const pattern = parsePattern('tenants/{tenant}/a.db');
    expect(matchesSoFar(pattern, ['tenants'])).toBe(true);
    expect(matchesSoFar(pattern, ['tenants', 'acme'])).toBe(true);
    expect(matchesSoFar(pattern, ['others'])).toBe(false);
  });

  it.each([
    '',
    'a.db',
    '{tenant}/{tenant}.db',
    '{tenant}{tenant}',
    '../{tenant}.db',
    '/{tenant}.db',
    './{tenant}',
    'a/b/c/d/{tenant}',
  ])('is refused as %j', text => {
    expect(() => parsePattern(text)).toThrow(/A pattern is a path below the folder/);
  });

  it('makes the path of a file, where it names one', () => {
    expect(fillPattern(parsePattern('x/{tenant}/a.db'), 'acme')).toBe('x/acme/a.db');
    expect(() => fillPattern(parsePattern('*/{tenant}.db'), 'acme')).toThrow(/no \*/);
  });
});
