import type { SqlValue } from '@onewriter/protocol';
import { valueWriter } from '../dialects/v1/result-shapes.ts';
import { toPlainValue } from '../http/result-values.ts';
import { toRowKeys } from '../http/row-keys.ts';

/*
 * Rows as JSON, written where they are read: the gateway's event loop passes bytes on. Two million values cost it a second
 * as objects.
 */

/** How rows are written. */
export interface RowForm {
  /** `dropIn`: as the proxies do that the drop-in endpoints stand for. */
  readonly values: 'plain' | 'tagged' | 'dropIn';
  /** `none`: they are read and left out. */
  readonly rows: 'objects' | 'arrays' | 'none';
}

/** The function that writes a row of these columns. */
export function rowWriter(
  { values, rows }: RowForm,
  columns: readonly string[],
): (row: readonly SqlValue[]) => string {
  const write = values === 'dropIn' ? toPlainValue : valueWriter(values);
  if (rows === 'arrays') return row => `[${row.map(value => JSON.stringify(write(value))).join()}]`;
  const names = toRowKeys(columns).map(key => `${JSON.stringify(key)}:`);
  return row => {
    let text = '';
    for (let index = 0; index < names.length; index++)
      text += `${index === 0 ? '' : ','}${names[index]!}${JSON.stringify(write(row[index]!))}`;
    return `{${text}}`;
  };
}

/** Rows as the elements of an array: those of a process are written, those that were read here are not. */
export function rowsJson(
  {
    columns,
    rows,
    json,
  }: {
    readonly columns: readonly string[];
    readonly rows: SqlValue[][];
    readonly json?: readonly Uint8Array[] | undefined;
  },
  form: RowForm,
): readonly Uint8Array[] {
  if (json !== undefined) return json;
  return [Buffer.from(rows.map(rowWriter(form, columns)).join())];
}
