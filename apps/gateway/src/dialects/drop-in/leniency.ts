import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { TransactionStatement } from '@onewriter/sdk';
import type { TenantReads } from '../../reads/tenant-reads.ts';
import { findUnresolvedName, planQuotes } from './double-quotes.ts';
import type { DropInUse, DropInUses } from './drop-in-uses.ts';
import { readKnownNames } from './known-names.ts';
import { changesMore, isRepeated } from './repeated-ddl.ts';

/** What clients of existing proxies may be allowed. */
export interface LeniencyOptions {
  /** Strings in double quotes. */
  readonly doubleQuotes: boolean;
  /** Schema changes that were made before are answered as done. */
  readonly repeatedDdl: boolean;
  readonly reads: Pick<TenantReads, 'read'>;
  readonly uses: Pick<DropInUses, 'count'>;
}

/** How the caller waits; asked again for each attempt. */
export interface LeniencyWait {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Result of statements, some of which may not have been run. */
export interface LenientResult<Result> {
  readonly result: Result;
  /** By index: they were done before, and {@link NOTHING} ran in their place. */
  readonly done: ReadonlySet<number>;
}

/** Times that statements are changed; a transaction has many that could be. */
const MAX_CHANGES = 100;
/** Does nothing, in the place of a statement. */
const NOTHING: TransactionStatement = Object.freeze({ sql: 'SELECT 1 WHERE 0', params: [] });

/**
 * Runs statements as they are. Where SQLite refuses one for what a setting allows, nothing was applied: they run again with another
 * text in its place.
 */
export class Leniency {
  readonly #options: LeniencyOptions;

  constructor(options: LeniencyOptions) {
    this.#options = options;
  }

  /** @throws OnewriterError what the last attempt failed with; STATEMENT_NOT_ALLOWED where the meaning is in doubt */
  async run<Result>(
    tenant: string,
    statements: readonly TransactionStatement[],
    waitOf: () => LeniencyWait,
    attempt: (statements: readonly TransactionStatement[]) => Promise<Result>,
  ): Promise<LenientResult<Result>> {
    const done = new Set<number>();
    const uses = new Map<DropInUse, number>();
    for (let current = statements, changes = 0; ; changes++) {
      try {
        const result = await attempt(current);
        for (const [use, count] of uses) this.#options.uses.count(use, tenant, count);
        return { result, done };
      } catch (error) {
        if (!isOnewriterError(error, 'SQL_ERROR') || changes === MAX_CHANGES) throw error;
        const index = error.details.statementIndex ?? 0;
        const change = await this.#change(tenant, current, index, error, waitOf);
        if (change === undefined) throw error;
        const { use, statement } = change;
        if (statement === NOTHING) done.add(index);
        uses.set(use, (uses.get(use) ?? 0) + 1);
        current = current.with(index, statement);
      }
    }
  }

  async #change(
    tenant: string,
    statements: readonly TransactionStatement[],
    index: number,
    { message, details }: OnewriterError,
    waitOf: () => LeniencyWait,
  ): Promise<{ readonly use: DropInUse; readonly statement: TransactionStatement } | undefined> {
    const statement = statements[index];
    // A body that another thread has sealed: its texts are not here.
    if (statement === undefined) return undefined;
    const { sql } = statement;
    if (
      this.#options.repeatedDdl &&
      isRepeated(sql, message) &&
      !statements.some(one => changesMore(one.sql))
    )
      return { use: 'ddl', statement: NOTHING };
    const name = this.#options.doubleQuotes ? findUnresolvedName(message) : undefined;
    if (name === undefined) return undefined;
    const before = statements.slice(0, index).map(one => one.sql);
    const known = await readKnownNames(this.#options.reads, tenant, sql, before, waitOf());
    const plan = planQuotes(sql, name, known);
    switch (plan.type) {
      case 'rewritten':
        return { use: 'strings', statement: { ...statement, sql: plan.sql } };
      case 'doubt':
        throw new OnewriterError(
          'STATEMENT_NOT_ALLOWED',
          `Here "${plan.name.slice(0, 100)}" may be a column or a string: write strings in single quotes.`,
          details,
        );
      case 'other':
        return undefined;
      default:
        return plan satisfies never;
    }
  }
}
