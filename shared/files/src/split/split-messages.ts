import type { FileNote } from '../adopt/inspect-file.ts';

/** What a person says of a file that is split. Names are compared as SQLite does. */
export interface SplitOptions {
  /** Columns that hold the tenant: `tenant_id` of each table that has it, `tenants.id` of that table. */
  readonly columns: readonly string[];
  /** Tables that each tenant gets whole. */
  readonly shared: readonly string[];
  /** `items.order_id=orders.id`: rows of `items` belong to the tenant of that row of `orders`. */
  readonly via: readonly string[];
  /** Tables, views and triggers that no tenant gets. */
  readonly leaveOut: readonly string[];
  /** Rows without a tenant may be left out. */
  readonly leaveOutNull: boolean;
}

/** Which rows of a table a tenant gets. */
export type SplitRule =
  | { readonly kind: 'column'; readonly column: string }
  | {
      readonly kind: 'parent';
      readonly column: string;
      readonly parent: string;
      readonly parentColumn: string;
    }
  | { readonly kind: 'shared' }
  | { readonly kind: 'leftOut' };

/** Looks at a file that is to be split. */
export interface PlanSplitJob {
  readonly kind: 'planSplit';
  /** Absolute. */
  readonly source: string;
  readonly options: SplitOptions;
}

/** A tenant as the source names it: text, or an integer, in digits. */
export interface TenantValue {
  readonly type: 'text' | 'integer';
  readonly text: string;
}

/** What a tenant gets. */
export interface SplitPart extends TenantValue {
  /** About that many, with its part of indexes. */
  readonly bytes: number;
  /** Of each table that is split, by its place in {@link SplitPlan.tables}; none where it has none. */
  readonly rows: readonly (readonly [table: number, rows: number])[];
}

/** A table of the source. */
export interface SplitTable {
  readonly name: string;
  readonly rule: SplitRule;
  readonly rows: number;
  /** Of these, rows that no tenant gets. */
  readonly leftOut: number;
}

/** What a split would do. It may be done where no note is an error. */
export interface SplitPlan {
  readonly bytes: number;
  /** SHA-256 of the source. */
  readonly hash: string;
  /** Changes with the source. */
  readonly stamp: string;
  /** Whether the source has rows that refer to rows which are not there. */
  readonly dangles: boolean;
  readonly tables: readonly SplitTable[];
  readonly tenants: readonly SplitPart[];
  readonly notes: readonly FileNote[];
}

/** Makes tenants out of a source that was looked at. */
export interface SplitJob extends Pick<SplitPlan, 'stamp' | 'hash' | 'dangles'> {
  readonly kind: 'split';
  readonly source: string;
  readonly options: SplitOptions;
  readonly who: string;
}

/** What a process needs to know of one tenant. */
export interface SplitTask {
  readonly part: SplitPart;
  readonly shared: SplitPart['rows'];
}
