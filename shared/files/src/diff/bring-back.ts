import type { WireValue } from '@onewriter/protocol';
import { quoteName } from '@onewriter/runtime/inspect';
import type { RowDifference, TableDifference } from './diff-databases.ts';

/** A statement that gives a row its former values, as long as it still is as it was compared. */
export interface BringBackStatement {
  readonly sql: string;
  readonly params: readonly WireValue[];
  /** Rows that it must change: another number means that the row was written since. */
  readonly expect: { readonly changes: 1 };
}

/** Which rows come back. */
export type BringBack = Pick<Record<RowDifference['kind'], boolean>, 'removed' | 'changed'>;

/** The statements for the listed rows of a table. Rows that were added since stay. */
export function bringBack(
  { table, key, rows }: Pick<TableDifference, 'table' | 'key' | 'rows'>,
  which: BringBack,
): BringBackStatement[] {
  const statements: BringBackStatement[] = [];
  for (const { kind, former, present } of rows) {
    if (kind === 'removed' && which.removed) {
      const columns = Object.keys(former!);
      const marks = columns.map(() => '?').join(', ');
      const names = columns.map(quoteName).join(', ');
      statements.push({
        sql: `INSERT INTO ${quoteName(table)}(${names}) VALUES (${marks})`,
        params: Object.values(former!),
        expect: { changes: 1 },
      });
    }
    if (kind === 'changed' && which.changed) {
      const columns = Object.keys(former!).filter(column => !key.includes(column));
      const set = columns.map(column => `${quoteName(column)} = ?`).join(', ');
      const same = columns.map(column => `${quoteName(column)} IS ?`);
      const here = key.map(column => `${quoteName(column)} = ?`);
      statements.push({
        sql: `UPDATE ${quoteName(table)} SET ${set} WHERE ${[...here, ...same].join(' AND ')}`,
        params: [
          ...columns.map(column => former![column]!),
          ...key.map(column => present![column]!),
          ...columns.map(column => present![column]!),
        ],
        expect: { changes: 1 },
      });
    }
  }
  return statements;
}
