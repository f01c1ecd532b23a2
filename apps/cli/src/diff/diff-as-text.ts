import type { DatabaseDifference, RowDifference, RowValues, TableDifference } from '@onewriter/files';
import { decodeValue, shownName } from '@onewriter/protocol';
import { count } from '../table.ts';

/** What `onewriter diff --json` prints. */
export interface DiffSummary extends DatabaseDifference {
  readonly tenant: string;
  readonly former: string;
  /** Rows that were brought back; null where none were asked for. */
  readonly broughtBack: number | null;
}

/** Characters of a value that are shown. */
const SHOWN_CHARACTERS = 40;

/** A comparison, for people. @param missing tables that were asked for, and have no difference or are not there */
export function diffAsText(summary: DiffSummary, missing: readonly string[]): string {
  const { tables, tablesFormer, tablesPresent, skipped, broughtBack } = summary;
  const lines: string[] = [];
  if (tables.length === 0) lines.push('No row differs.');
  for (const table of tables) lines.push(...tableAsText(table));
  if (tablesFormer.length > 0) lines.push(`tables that are gone: ${namesOf(tablesFormer)}`);
  if (tablesPresent.length > 0) lines.push(`tables that were not there: ${namesOf(tablesPresent)}`);
  for (const { table, why } of skipped) lines.push(`${shownName(table)} was not compared: ${why}`);
  if (missing.length > 0) lines.push(`without differences, or not there: ${namesOf(missing)}`);
  if (broughtBack !== null) lines.push(`${count(broughtBack, 'row')} brought back.`);
  return `${lines.join('\n')}\n`;
}

function tableAsText(difference: TableDifference): string[] {
  const { table, key, removed, added, changed, rows, columnsFormer, columnsPresent } = difference;
  const lines = [
    `${shownName(table)}: ${removed} removed, ${changed} changed, ${added} added since`,
    ...rows.map(row => `  ${rowAsText(row, key)}`),
  ];
  if (columnsFormer.length > 0) lines.push(`  columns that are gone: ${namesOf(columnsFormer)}`);
  if (columnsPresent.length > 0) lines.push(`  columns that were not there: ${namesOf(columnsPresent)}`);
  return lines;
}

const SIGNS = { removed: '-', added: '+', changed: '~' } as const;

function rowAsText({ kind, former, present }: RowDifference, key: readonly string[]): string {
  const row = (former ?? present)!;
  const names = Object.keys(row);
  const keys = key.map(name => `${shownName(name)}=${valueAsText(row, name)}`).join(' ');
  const values = names
    .filter(name => !key.includes(name))
    .map(name =>
      kind === 'changed'
        ? `${shownName(name)}: ${valueAsText(former!, name)} → ${valueAsText(present!, name)}`
        : `${shownName(name)}: ${valueAsText(row, name)}`,
    );
  return `${SIGNS[kind]} ${keys}  ${values.join(', ')}`.trimEnd();
}

function valueAsText(row: RowValues, name: string): string {
  const value = decodeValue(row[name]!);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length <= SHOWN_CHARACTERS ? text : `${text.slice(0, SHOWN_CHARACTERS)}…`;
}

function namesOf(names: readonly string[]): string {
  return names.map(shownName).join(', ');
}
