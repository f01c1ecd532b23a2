import { OnewriterError, shownName } from '@onewriter/protocol';
import { quoteName } from '@onewriter/runtime/inspect';
import type Database from 'better-sqlite3';
import type { FileNote } from '../adopt/inspect-file.ts';
import { fold } from './source-schema.ts';
import type { SplitPart, SplitTable, TenantValue } from './split-messages.ts';
import type { RuledTable } from './split-rules.ts';
import { type FindTable, pathToTenant } from './tenant-path.ts';

/** More are split in parts. */
const MAX_TENANTS = 100_000;
/** Of a tenant's name: more is no name. */
const MAX_NAME_LENGTH = 200;

interface Tenant extends TenantValue {
  readonly rows: [table: number, rows: number][];
}

/** What each tenant has, table by table. */
export class TenantCounts {
  readonly #tenants = new Map<string, Tenant>();
  /** Values that are no name, of each table. */
  readonly #wrong = new Map<number, { readonly types: Set<string>; rows: number }>();
  /** Rows that were counted, of each table. */
  readonly #seen = new Map<number, number>();

  get size(): number {
    return this.#tenants.size;
  }

  /** @returns rows without a tenant */
  add(db: Database.Database, find: FindTable, table: RuledTable, index: number): number {
    const { joins, value } = pathToTenant(find, table, 't');
    const groups = db
      .prepare<[], [type: string, value: bigint | string | null, rows: bigint]>(
        `SELECT typeof(v), CASE WHEN typeof(v) IN ('text', 'integer') AND length(v) <= ${MAX_NAME_LENGTH} THEN v END, count(*)
         FROM (SELECT ${value} AS v FROM main.${quoteName(table.name)} AS t${joins})
         GROUP BY v COLLATE BINARY, typeof(v)`,
      )
      .raw(true)
      .safeIntegers(true);
    let without = 0;
    let seen = 0;
    for (const [type, value, counted] of groups.iterate()) {
      const rows = Number(counted);
      seen += rows;
      if (type === 'null') without += rows;
      else if (value === null || (type !== 'text' && type !== 'integer')) {
        const wrong = this.#wrong.get(index) ?? { types: new Set(), rows: 0 };
        this.#wrong.set(index, wrong);
        wrong.types.add(type === 'text' ? `text of more than ${MAX_NAME_LENGTH} characters` : type);
        wrong.rows += rows;
      } else this.#tenantOf(type, String(value)).rows.push([index, rows]);
    }
    this.#seen.set(index, seen);
    return without;
  }

  #tenantOf(type: TenantValue['type'], text: string): Tenant {
    const key = `${type} ${text}`;
    const known = this.#tenants.get(key);
    if (known !== undefined) return known;
    if (this.#tenants.size === MAX_TENANTS)
      throw new OnewriterError('INVALID_ARGUMENT', `There are more than ${MAX_TENANTS} tenants in it.`);
    const tenant: Tenant = { type, text, rows: [] };
    this.#tenants.set(key, tenant);
    return tenant;
  }

  /** @param leaveOutNull whether rows without a tenant may be left out */
  notes(tables: readonly SplitTable[], leaveOutNull: boolean): FileNote[] {
    const notes: FileNote[] = [];
    for (const [index, seen] of this.#seen) {
      const { name, rule, rows, leftOut } = tables[index]!;
      const table = shownName(name);
      const wrong = this.#wrong.get(index);
      if (wrong !== undefined) {
        notes.push({
          level: 'error',
          check: 'value',
          found: `${wrong.rows} rows of ${table} have a tenant that is no name: ${[...wrong.types].join(', ')}.`,
          next: 'A tenant is a text or an integer: mend these rows first.',
        });
      }
      if (leftOut > 0) {
        const why = rule.kind === 'column' ? `have NULL in ${shownName(rule.column)}` : 'belong to no tenant';
        notes.push({
          level: leaveOutNull ? 'note' : 'error',
          check: 'null',
          found: `${leftOut} rows of ${table} ${why}.`,
          next: leaveOutNull
            ? 'Nothing: no tenant gets them.'
            : 'Give them one, or leave such rows out of all tenants: --leave-out-null.',
        });
      }
      if (seen !== rows) {
        notes.push({
          level: 'error',
          check: 'rule',
          found: `Rows of ${table} belong to several rows of ${rule.kind === 'parent' ? shownName(rule.parent) : table}.`,
          next: 'Name a column that has each value once: --via <table.column=parent.column>.',
        });
      }
    }
    return notes;
  }

  /** @param bytes of each table */
  parts(tables: readonly SplitTable[], bytes: ReadonlyMap<string, number>): SplitPart[] {
    const sizeOf = ({ name }: SplitTable) => bytes.get(fold(name)) ?? 0;
    const shared = tables.reduce((sum, table) => sum + (table.rule.kind === 'shared' ? sizeOf(table) : 0), 0);
    return [...this.#tenants.values()].map(({ type, text, rows }) => {
      const own = rows.reduce(
        (sum, [index, count]) => sum + (sizeOf(tables[index]!) * count) / tables[index]!.rows,
        0,
      );
      return { type, text, bytes: Math.round(shared + own), rows };
    });
  }
}
