import { TENANT_ID_PATTERN } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { nameTenants, toTenantId } from './tenant-ids.ts';

describe('the id for a name', () => {
  it.each([
    ['acme', 'acme'],
    ['Acme GmbH & Co', 'acme-gmbh-co'],
    ['Müller', 'muller'],
    ['user_17', 'user-17'],
    ['-a-', 'a'],
    ['x'.repeat(80), 'x'.repeat(63)],
    [`${'x'.repeat(62)}--y`, 'x'.repeat(62)],
    ['日本', undefined],
  ])('of %s is %s', (name, id) => {
    expect(toTenantId(name)).toBe(id);
  });

  it('is one, or there is none', () => {
    for (let code = 0; code < 0x3000; code++) {
      const name = `${String.fromCodePoint(code)}a${String.fromCodePoint(code + 7)}`;
      const id = toTenantId(name);
      expect([name, id === undefined || TENANT_ID_PATTERN.test(id)]).toEqual([name, true]);
    }
  });
});

describe('the names of a tree', () => {
  const none = new Map<string, string>();
  const trouble = (text: RegExp) => ({ trouble: expect.stringMatching(text) });

  it('never share an id: a name that is one keeps it', () => {
    expect(nameTenants(['Acme', 'acme', 'ACME', 'beta'], none)).toEqual([
      trouble(/Acme and acme would both be tenant acme/),
      { tenant: 'acme' },
      trouble(/ACME and Acme would both be tenant acme/),
      { tenant: 'beta' },
    ]);
    expect(nameTenants(['a b', 'a_b'], none)).toEqual([trouble(/both be tenant a-b/), trouble(/both/)]);
    // The same name in two folders.
    expect(nameTenants(['acme', 'acme'], none)).toEqual([trouble(/both/), trouble(/both/)]);
  });

  it('get the ids that a person gives', () => {
    expect(nameTenants(['Acme', 'acme'], new Map([['Acme', 'acme-2']]))).toEqual([
      { tenant: 'acme-2' },
      { tenant: 'acme' },
    ]);
    expect(nameTenants(['日本'], new Map([['日本', 'nihon']]))).toEqual([{ tenant: 'nihon' }]);
    expect(nameTenants(['日本'], none)).toEqual([trouble(/leaves nothing/)]);
    expect(nameTenants(['Big', 'acme'], new Map([['Big', 'acme']]))).toEqual([
      trouble(/both/),
      trouble(/both/),
    ]);
  });

  it('are looked at once each, however many are equal', () => {
    const many = nameTenants(Array<string>(100_000).fill('acme'), none);
    expect(many.filter(id => 'trouble' in id)).toHaveLength(100_000);
  }, 5_000);
});
