import { describe, expect, it } from 'vitest';
import { classifyScript } from './classify-text.ts';
import type { StatementKind } from './statement-kind.ts';

const kindsOf = (sql: string) => classifyScript(sql).map(describeKind);

function describeKind(known: StatementKind): string {
  return known.kind === 'statement' ? known.statement.kind : known.kind;
}

describe('the kinds of a script', () => {
  it('are those of its statements, each once between two statements that control transactions', () => {
    expect(
      kindsOf('SELECT 1; INSERT INTO t VALUES (1); SELECT 2; BEGIN; INSERT INTO t VALUES (2); COMMIT'),
    ).toEqual(['read', 'write', 'begin', 'write', 'commit']);
  });

  it('are few where statements or transactions are repeated', () => {
    expect(kindsOf('INSERT INTO t VALUES (1);'.repeat(40_000))).toEqual(['write']);
    expect(kindsOf('SELECT 1; DELETE FROM t;'.repeat(1_000))).toEqual(['read', 'write']);
    const transaction = ['begin', 'write', 'commit'];
    expect(kindsOf('BEGIN; DELETE FROM t; COMMIT;'.repeat(1_000))).toEqual([...transaction, ...transaction]);
    expect(kindsOf('SAVEPOINT a; RELEASE a; SAVEPOINT b; RELEASE b;'.repeat(1_000))).toHaveLength(4);
  });

  it('keep what a repeated run leads to: one that was only written to in a read-only transaction before', () => {
    // The first write is in the transaction that is open, the second in one of its own.
    expect(kindsOf('DELETE FROM t; COMMIT; '.repeat(3))).toEqual(['write', 'commit', 'write', 'commit']);
  });

  it('keep the first that is refused, and no other', () => {
    expect(kindsOf('SELECT 1; VACUUM; VACUUM; DELETE FROM t; VACUUM;')).toEqual(['read', 'refused', 'write']);
  });

  it('keep the last of several ways to begin', () => {
    const last = classifyScript(`${'BEGIN; COMMIT; '.repeat(50)} BEGIN READONLY`).at(-1);
    expect(last).toMatchObject({ kind: 'begin', readOnly: true });
  });

  it('are refused where they are very many all the same', () => {
    const statements = ['BEGIN', 'COMMIT', 'SAVEPOINT a', 'RELEASE a', 'ROLLBACK'];
    let seed = 1;
    const mixed = Array.from({ length: 2_000 }, () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return statements[seed % statements.length]!;
    });
    expect(classifyScript(mixed.slice(0, 900).join(';')).length).toBeGreaterThan(800);
    expect(() => classifyScript(mixed.join(';'))).toThrow('split it');
  });
});
