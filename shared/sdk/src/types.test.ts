import { describe, expectTypeOf, it } from 'vitest';
import type { RunResult, SqlRow, SqlValue, Statement, Tenant } from './types.ts';

interface Task {
  id: string;
  title: string;
}

/** Never called: the compiler checks what is inside (npm run check). */
function typesOf(db: Tenant): void {
  const byId = db.prepare<[id: string], Task>('');
  expectTypeOf(byId).toEqualTypeOf<Statement<[id: string], Task>>();
  expectTypeOf(byId.get('t1')).resolves.toEqualTypeOf<Task | undefined>();
  expectTypeOf(byId.all(['t1'])).resolves.toEqualTypeOf<Task[]>();
  // @ts-expect-error a number for a string
  void byId.get(1);
  // @ts-expect-error a parameter is missing
  void byId.get();

  const insert = db.prepare<Task>('');
  expectTypeOf(insert.run({ id: 't1', title: 'one' })).resolves.toEqualTypeOf<RunResult>();
  // @ts-expect-error a named parameter is missing
  void insert.run({ id: 't1' });

  const untyped = db.prepare('');
  void untyped.run();
  void untyped.run(1, 'a', null, 5n, true, new Uint8Array(1));
  void untyped.run([1, 'a']);
  void untyped.run({ id: 1 });
  // @ts-expect-error undefined is refused
  void untyped.run(undefined);
  expectTypeOf(untyped.get()).resolves.toEqualTypeOf<SqlRow | undefined>();

  expectTypeOf(db.execute('').then(({ rows }) => rows)).resolves.toEqualTypeOf<SqlRow[] | undefined>();
  const arrays = db.execute('', [], { rowMode: 'array' }).then(({ rows }) => rows);
  expectTypeOf(arrays).resolves.toEqualTypeOf<SqlValue[][] | undefined>();
  // @ts-expect-error no such expectation
  void db.transaction([{ sql: '', expect: { chnages: 1 } }]);
}

describe('the types', () => {
  it('are exact', () => {
    expectTypeOf(typesOf).toBeFunction();
  });
});
