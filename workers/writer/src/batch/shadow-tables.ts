import { SqlTokens } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { type CompiledStatement, compileStatement } from './statement-cache.ts';

/** Source: tabIsReadOnly() in SQLite's insert.c. */
const REFUSED = /^table (.+) may not be modified$/;

/**
 * Compiles the statements of one script. SQLite refuses writes to the shadow tables of a virtual table, because they can damage
 * its content. A dump fills some in no other way: an index of full text without content shows in no SELECT. So a script may
 * write to those of a virtual table that it created before, which has no content to damage.
 */
export class ShadowTables {
  readonly #db: Database;
  readonly #created = new Set<string>();
  /** The statements that may write to shadow tables. */
  readonly #allowed = new WeakSet<CompiledStatement>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** @throws what {@link compileStatement} throws */
  compile(sql: string): CompiledStatement {
    try {
      const compiled = compileStatement(this.#db, sql);
      if (compiled.keyword === 'CREATE') this.#noteVirtualTable(sql);
      return compiled;
    } catch (error) {
      const shadow = error instanceof Error ? REFUSED.exec(error.message)?.[1] : undefined;
      if (shadow === undefined || !this.#created.has(ownerOf(shadow))) throw error;
      return this.#unprotected(() => {
        const compiled = compileStatement(this.#db, sql);
        this.#allowed.add(compiled);
        return compiled;
      });
    }
  }

  /** Runs a statement of {@link compile}. SQLite recompiles it when the protection has changed, so that is off here, too. */
  run(compiled: CompiledStatement, execute: () => void): void {
    if (this.#allowed.has(compiled)) this.#unprotected(execute);
    else execute();
  }

  #unprotected<T>(run: () => T): T {
    this.#db.unsafeMode(true); // SQLITE_DBCONFIG_DEFENSIVE off
    try {
      return run();
    } finally {
      this.#db.unsafeMode(false);
    }
  }

  /** CREATE VIRTUAL TABLE [IF NOT EXISTS] [main.]name USING …; a table that existed before does not belong to the script. */
  #noteVirtualTable(sql: string): void {
    const words: string[] = [];
    const tokens = new SqlTokens(sql);
    for (let kind = tokens.next(); kind !== 'end' && words.length < 6; kind = tokens.next()) {
      if (kind !== 'space') words.push(kind === 'word' ? tokens.text : bareName(tokens.text));
    }
    if (words[1]?.toUpperCase() !== 'VIRTUAL' || words[2]?.toUpperCase() !== 'TABLE') return;
    const name = words[4] === '.' ? words[5] : words[3];
    if (name !== undefined && !this.#exists(name)) this.#created.add(name.toLowerCase());
  }

  #exists(name: string): boolean {
    const find = this.#db.prepare('SELECT 1 FROM sqlite_schema WHERE lower(name) = lower(?)');
    return find.get(name) !== undefined;
  }
}

/** The name before the last `_` of a shadow table. Source: sqlite3ShadowTableName() in SQLite's build.c. */
function ownerOf(shadow: string): string {
  return shadow.slice(0, shadow.lastIndexOf('_')).toLowerCase();
}

function bareName(text: string): string {
  const quote = text[0];
  if (quote !== '"' && quote !== '`' && quote !== '[' && quote !== "'") return text;
  const end = quote === '[' ? ']' : quote;
  return text.slice(1, -1).replaceAll(end + end, end);
}
