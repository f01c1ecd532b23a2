import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import type { SplitOptions } from './split-messages.ts';
import { findSplitRules } from './split-rules.ts';

function rulesOf(schema: string, options: Partial<SplitOptions> = {}) {
  const db = new Database(':memory:');
  onTestFinished(() => void db.close());
  db.exec(schema);
  const { tables, notes } = findSplitRules(db, {
    ...{ columns: ['tenant_id'], shared: [], via: [], leaveOut: [], leaveOutNull: false },
    ...options,
  });
  const rules = Object.fromEntries(
    tables.map(({ name, rule }) => [
      name,
      'column' in rule
        ? [rule.kind, rule.column, ...('parent' in rule ? [rule.parent, rule.parentColumn] : [])]
        : rule.kind,
    ]),
  );
  return { rules, notes: notes.map(({ found, next }) => `${found} ${next}`) };
}

const SHOP = `
  CREATE TABLE tenants(id TEXT PRIMARY KEY, name);
  CREATE TABLE Orders(id INTEGER PRIMARY KEY, TENANT_ID REFERENCES tenants, note);
  CREATE TABLE items(id INTEGER PRIMARY KEY, order_id REFERENCES orders(id), plan REFERENCES plans);
  CREATE TABLE notes(item REFERENCES items, above REFERENCES notes(item));
  CREATE TABLE plans(id INTEGER PRIMARY KEY);`;

it('finds the column, the table of the tenants, and the way by foreign keys, in any case of letters', () => {
  expect(rulesOf(SHOP, { shared: ['PLANS'] })).toEqual({
    notes: [],
    rules: {
      tenants: ['column', 'id'],
      Orders: ['column', 'TENANT_ID'],
      items: ['parent', 'order_id', 'Orders', 'id'],
      notes: ['parent', 'item', 'items', 'id'],
      plans: 'shared',
    },
  });
});

it('names each table for which there is no rule', () => {
  const { notes } = rulesOf(`${SHOP} CREATE TABLE "audit log"(a)`);
  expect(notes).toEqual([
    expect.stringMatching(/^Table audit log has no column and no foreign key .* --leave-out\.$/),
    expect.stringMatching(/^Table plans has no column/),
  ]);
});

const TWO_WAYS = `
  CREATE TABLE orders(id INTEGER PRIMARY KEY, tenant_id);
  CREATE TABLE products(id INTEGER PRIMARY KEY, tenant_id);
  CREATE TABLE items(o REFERENCES orders, p REFERENCES products);`;

it('names the keys where several lead to a tenant, and takes the one that a person names', () => {
  expect(rulesOf(TWO_WAYS).notes).toEqual([
    'Several keys of table items lead to a tenant. Say which: --via items.o=orders.id, or --via items.p=products.id.',
  ]);
  const { rules, notes } = rulesOf(TWO_WAYS, { via: ['items.o=orders.id'] });
  expect({ items: rules['items'], notes }).toEqual({ items: ['parent', 'o', 'orders', 'id'], notes: [] });
});

it('counts a key that leads to a tenant over another table, whatever their order', () => {
  const { notes } = rulesOf(`
    CREATE TABLE orders(id INTEGER PRIMARY KEY, tenant_id);
    CREATE TABLE a(o REFERENCES orders, z REFERENCES z);
    CREATE TABLE z(id INTEGER PRIMARY KEY, o REFERENCES orders);`);
  expect(notes).toEqual([expect.stringMatching(/^Several keys of table a /)]);
});

it('follows keys over several tables, whatever their order', () => {
  const { rules } = rulesOf(`
    CREATE TABLE t(id INTEGER PRIMARY KEY, tenant_id);
    CREATE TABLE c(id INTEGER PRIMARY KEY, t REFERENCES t);
    CREATE TABLE b(id INTEGER PRIMARY KEY, c REFERENCES c);
    CREATE TABLE a(b REFERENCES b);`);
  expect(rules['a']).toEqual(['parent', 'b', 'b', 'id']);
});

it.each<[string, string, Partial<SplitOptions>, RegExp]>([
  ['no table has it', 'CREATE TABLE t(a)', {}, /No table has a column tenant_id/],
  ['a virtual table', 'CREATE TABLE t(tenant_id); CREATE VIRTUAL TABLE f USING fts5(a)', {}, /f is virtual/],
  ['an unknown table', 'CREATE TABLE t(tenant_id)', { shared: ['u'] }, /There is no table u/],
  [
    'two options',
    'CREATE TABLE t(tenant_id)',
    { shared: ['t'], leaveOut: ['t'] },
    /t is named more than once/,
  ],
  ['no column of --via', SHOP, { shared: ['plans'], via: ['items.order_id=orders.no'] }, /names no column/],
  [
    'a circle',
    'CREATE TABLE t(tenant_id); CREATE TABLE a(x); CREATE TABLE b(x)',
    { via: ['a.x=b.x', 'b.x=a.x'] },
    /in a circle/,
  ],
  ['--via to a shared one', SHOP, { shared: ['plans'], via: ['items.plan=plans.id'] }, /which is not split/],
  ['a parent that is left out', SHOP, { leaveOut: ['plans'] }, /items refers to plans, which is left out/],
  ['a shared child', SHOP, { shared: ['plans', 'items', 'notes'] }, /items is shared, and refers to orders/],
])('refuses %s', (_, schema, options, expected) => {
  expect(rulesOf(schema, options).notes.join('\n')).toMatch(expected);
});

it('leaves out a virtual table with what SQLite keeps for it', () => {
  const { rules, notes } = rulesOf('CREATE TABLE t(tenant_id); CREATE VIRTUAL TABLE f USING fts5(a)', {
    leaveOut: ['f'],
  });
  expect(notes).toEqual([]);
  expect(new Set(Object.entries(rules).flatMap(([name, rule]) => (name === 't' ? [] : [rule])))).toEqual(
    new Set(['leftOut']),
  );
});
