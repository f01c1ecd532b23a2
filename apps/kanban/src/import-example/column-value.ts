import type { SqlValue } from '@onewriter/sdk';
import type { ColumnDefinition, DateForm } from './table-definition.ts';

/** A value as the source has it; CSV's texts are already numbers where the column is one. */
export type SourceValue = null | number | string;

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/**
 * Reads one field of a CSV file.
 * @throws Error where a numeric column holds something else: nothing is guessed.
 */
export function parseCsvField(field: string, { name, type }: ColumnDefinition): SourceValue {
  if (field === '') return null;
  if (type !== 'integer' && type !== 'real') return field;
  if (!NUMBER.test(field)) throw new Error(`Column ${name} is a number, but the source has text there.`);
  return Number(field);
}

/** What is written for a source value. @throws Error where the value does not fit its column. */
export function toStoredValue(value: SourceValue, column: ColumnDefinition): SqlValue {
  if (value === null) return null;
  switch (column.type) {
    case 'integer':
      // A number is bound as a double; an INTEGER column of a STRICT table makes it an integer, or refuses it.
      return value;
    case 'any':
      // ANY converts nothing, so say here that 1776 is an integer.
      return Number.isSafeInteger(value) ? BigInt(value) : value;
    case 'date':
      return toIsoDate(String(value), column.sourceForm ?? 'iso');
    case 'text':
    case 'real':
      return value;
    default:
      throw new TypeError(`Unknown column type ${column.type satisfies never}.`);
  }
}

/** The inverse of {@link toStoredValue}: what the source must have held for this to be in the file. */
export function toSourceValue(value: SqlValue, column: ColumnDefinition): SourceValue {
  if (typeof value === 'bigint' || value instanceof Uint8Array) {
    throw new Error(`Column ${column.name} holds a value that no source has.`);
  }
  if (column.type !== 'date' || typeof value !== 'string') return value;
  if (column.sourceForm !== 'month-day-year') return value;
  const [year, month, day] = value.split('-');
  return `${MONTHS[Number(month) - 1]} ${day} ${year}`;
}

/** SQLite's storage class that `value` must have in the file. */
export function storageClass(value: SourceValue, { type }: ColumnDefinition): StorageClass {
  if (value === null) return 'null';
  if (type === 'any')
    return typeof value === 'string' ? 'text' : Number.isInteger(value) ? 'integer' : 'real';
  return type === 'date' ? 'text' : type;
}

export const STORAGE_CLASSES = ['null', 'integer', 'real', 'text', 'blob'] as const;
export type StorageClass = (typeof STORAGE_CLASSES)[number];

function toIsoDate(text: string, form: DateForm): string {
  const match = form === 'iso' ? /^(\d{4})-(\d\d)-(\d\d)$/.exec(text) : /^(\w{3}) (\d\d) (\d{4})$/.exec(text);
  const [first, second, third] = match?.slice(1) ?? [];
  const iso =
    form === 'iso' ? text : `${third}-${String(MONTHS.indexOf(first!) + 1).padStart(2, '0')}-${second}`;
  // A date that no calendar has (Feb 30) comes back as another one.
  const date = new Date(`${iso}T00:00:00Z`);
  if (!match || Number.isNaN(date.getTime()) || date.toISOString().slice(0, 10) !== iso) {
    throw new Error(`The source has a date that is none, or not of the form ${form}.`);
  }
  return iso;
}
