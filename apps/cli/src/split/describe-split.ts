import {
  type FileNote,
  formatBytes,
  type NamedPart,
  type SplitRule,
  type SplitTable,
} from '@onewriter/files';
import { shownName, shownText } from '@onewriter/protocol';
import { count, formatTable } from '../table.ts';

/** What a split would do, for people. */
export interface SplitView {
  /** Absolute. */
  readonly source: string;
  readonly bytes: number;
  readonly tables: readonly SplitTable[];
  readonly tenants: readonly NamedPart[];
  readonly notes: readonly FileNote[];
}

/** Tenants that are listed each; of more the largest. */
const MAX_ROWS = 50;

/** What `onewriter import --split-by` prints before anything changes. */
export function describeSplit({ source, bytes, tables, tenants, notes }: SplitView): string {
  const listed = tenants.toSorted((one, other) => other.bytes - one.bytes).slice(0, MAX_ROWS);
  return [
    `${shownText(source)}: ${formatBytes(bytes)}, ${count(tables.length, 'table')}, ${count(tenants.length, 'tenant')}\n`,
    formatTable(
      ['table', 'a tenant gets', 'rows', 'left out'],
      tables.map(({ name, rule, rows, leftOut }) => [
        shownName(name),
        describeRule(rule),
        String(rows),
        String(leftOut),
      ]),
    ),
    listed.length === 0
      ? ''
      : formatTable(
          ['name', 'tenant', 'rows', 'size (about)', 'state'],
          listed.map(part => toRow(part, tables)),
        ),
    tenants.length > listed.length ? `and ${tenants.length - listed.length} smaller ones\n` : '',
    describeNames(tenants),
    ...notes.map(
      ({ level, check, found, next }) =>
        `${level.padEnd(8)}${shownText(`${check}: ${found}`)}\n        → ${shownText(next)}\n`,
    ),
  ].join('');
}

function describeRule(rule: SplitRule): string {
  switch (rule.kind) {
    case 'column':
      return `rows with its ${shownName(rule.column)}`;
    case 'parent':
      return `rows of its ${shownName(rule.parent)} (${shownName(rule.column)})`;
    case 'shared':
      return 'all rows';
    case 'leftOut':
      return 'nothing';
    default:
      return rule satisfies never;
  }
}

/** Rows that a tenant gets, with those that all get. */
export function rowsOf({ rows }: Pick<NamedPart, 'rows'>, tables: readonly SplitTable[]): number {
  const shared = tables.reduce((sum, { rule, rows }) => sum + (rule.kind === 'shared' ? rows : 0), 0);
  return rows.reduce((sum, [, number]) => sum + number, shared);
}

function toRow(part: NamedPart, tables: readonly SplitTable[]): string[] {
  const { text, tenant, bytes, state } = part;
  return [shownName(text), tenant ?? '-', String(rowsOf(part, tables)), formatBytes(bytes), state];
}

/** Clients name their tenants by id. */
function describeNames(tenants: readonly NamedPart[]): string {
  const renamed = tenants.filter(({ tenant, text }) => tenant !== null && tenant !== text);
  if (renamed.length === 0) return '';
  const rows = renamed.map(({ text, tenant }) => [shownName(text), tenant!]);
  return `Clients use another id for these:\n${formatTable(['name', 'id'], rows)}`;
}
