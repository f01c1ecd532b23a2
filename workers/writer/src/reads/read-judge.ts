import { LEDGER_LOOKUP_SQL, LIMITS, OnewriterError } from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import type { CompiledStatement } from '../batch/statement-cache.ts';
import { compileMeasure } from './measure-rows.ts';
import { judgePlan, type PlanStep, type ProgramStep, type ReadCost, returnsEachRow } from './read-plan.ts';

/** These check each page of the file, however they are written. */
const CHECKS = /integrity_check|quick_check|foreign_key_check/i;
/** These tables that are none have a row for each page, or check it. */
const OF_ALL_PAGES = /dbstat|_check/i;
/** Tools look at the schema by several of these, one in the other. */
const SHOWS_SCHEMA = /\bpragma_\w/i;
/** These have a row for each part of a value, which may be large. */
const EXPANDS_VALUE = /\bjsonb?_(?:each|tree)\b/i;
/** The first page of the table that the schema is in. */
const SCHEMA_ROOT = 1;
/** What may stand in front of a statement, and not behind EXPLAIN: semicolons, and comments among them. */
const BEFORE = /^(?:[\s;\uFEFF]|--[^\n]*\n|\/\*[\s\S]*?\*\/)+/;
/** A read that was stopped so often in a row is refused without being run. A machine under load stops an innocent one at times. */
const MAX_OVERRUNS = 3;
const REFUSED_FOR_MS = 60_000;
const REMEDY =
  'Read through a gateway on the machine of the files (gatewayUrl), or from the file (dataDir); or give it an index, or a WHERE.';

interface Judgement {
  readonly cost: ReadCost;
  /** Made when it is first needed; null: there is none. */
  measure?: Statement<unknown[], (number | null)[]> | null;
  overruns: number;
  /** On the monotonic clock, ms. */
  refusedUntil: number;
}

/**
 * Decides which reads the thread that writes may run. No statement can be interrupted there, so what may take long is refused before:
 * by its plan, by the size of the file, and by what it took before.
 */
export class ReadJudge {
  readonly #db: Database;
  readonly #judgements = new LRUCache<string, Judgement>({ max: LIMITS.maxCachedStatements });
  readonly #version: Statement<[], number>;
  readonly #bytes: Statement<[], number>;
  /**
   * A virtual table of the tenant's own that a text may name, or a view: a search for text, for example, has its data in tables that a
   * program does not show. One with quotes in its name may be written differently.
   */
  readonly #namedIn: Statement<[string], number>;
  #judgedVersion = -1;

  constructor(db: Database) {
    this.#db = db;
    this.#namedIn = db
      .prepare<[string], number>(
        `SELECT 1 FROM sqlite_schema WHERE rootpage = 0 AND type IN ('table', 'view')
           AND (instr(lower(?), lower(name)) > 0 OR name GLOB '*["''\`]*' OR name GLOB '*]*') LIMIT 1`,
      )
      .pluck();
    this.#version = db.prepare<[], number>('PRAGMA schema_version').pluck();
    this.#bytes = db
      .prepare<[], number>('SELECT page_count * page_size FROM pragma_page_count, pragma_page_size')
      .pluck();
  }

  /** Forgets plans of an older schema. Call it in each transaction. */
  look(): void {
    const version = this.#version.get()!;
    if (version === this.#judgedVersion) return;
    this.#judgements.clear();
    this.#judgedVersion = version;
  }

  /** @param bound its parameters @throws OnewriterError STATEMENT_NOT_ALLOWED, READ_TOO_COSTLY; SQLite's */
  assertMayRun(compiled: CompiledStatement, bound: readonly unknown[]): void {
    if (compiled.kind !== 'read' || !compiled.returnsRows) {
      throw new OnewriterError('STATEMENT_NOT_ALLOWED', 'A job of reads has only statements that read.');
    }
    const { cost, refusedUntil } = this.#judgementOf(compiled, bound);
    if (performance.now() < refusedUntil) throw tooCostly(`It took over ${LIMITS.ownerReadMs} ms before`);
    if (cost === 'costly') {
      throw tooCostly('By its plan it visits all rows of a table again and again, or recursively');
    }
    if (cost === 'scan' && this.#bytes.get()! > LIMITS.maxOwnerScanBytes) {
      throw tooCostly(`It visits each row of a table, in a file over ${LIMITS.maxOwnerScanBytes} bytes`);
    }
  }

  /**
   * What says how large the rows are before they are loaded, where one of them may be so large that loading it takes long.
   * Call {@link assertMayRun} before.
   */
  measureOf(compiled: CompiledStatement): Statement<unknown[], (number | null)[]> | undefined {
    if (this.#bytes.get()! <= LIMITS.maxOwnerScanBytes) return undefined;
    const judgement = this.#judgements.get(compiled.sql);
    if (judgement === undefined) return undefined;
    judgement.measure ??= compileMeasure(this.#db, compiled) ?? null;
    return judgement.measure ?? undefined;
  }

  /** It ran for so long. @throws OnewriterError READ_TOO_COSTLY: it is to be stopped, or its result is late */
  assertShort(compiled: CompiledStatement, ms: number): void {
    const judgement = this.#judgements.get(compiled.sql);
    if (ms <= LIMITS.ownerReadMs) return;
    if (judgement !== undefined && ++judgement.overruns >= MAX_OVERRUNS) {
      judgement.overruns = 0;
      judgement.refusedUntil = performance.now() + REFUSED_FOR_MS;
    }
    throw tooCostly(`It ran for over ${LIMITS.ownerReadMs} ms and was stopped`);
  }

  /** It ended in time. */
  noteShort({ sql }: CompiledStatement): void {
    const judgement = this.#judgements.get(sql);
    if (judgement !== undefined) judgement.overruns = 0;
  }

  #judgementOf(compiled: CompiledStatement, bound: readonly unknown[]): Judgement {
    const known = this.#judgements.get(compiled.sql);
    if (known !== undefined) return known;
    const judgement: Judgement = { cost: this.#costOf(compiled, bound), overruns: 0, refusedUntil: 0 };
    this.#judgements.set(compiled.sql, judgement);
    return judgement;
  }

  #costOf({ sql, keyword, explain }: CompiledStatement, bound: readonly unknown[]): ReadCost {
    if (explain || sql === LEDGER_LOOKUP_SQL) return 'search';
    if (keyword === 'PRAGMA') return CHECKS.test(sql) ? 'scan' : 'search';
    const text = sql.replace(BEFORE, '');
    const plan = this.#db.prepare<unknown[], PlanStep>(`EXPLAIN QUERY PLAN ${text}`);
    const cost = judgePlan(plan.all(...bound), SHOWS_SCHEMA.test(text) && !EXPANDS_VALUE.test(text));
    if (cost === 'range') return returnsEachRow(this.#programOf(text, bound)) ? 'search' : 'scan';
    return cost === 'scan' && this.#readsOnlySchema(text, bound) ? 'search' : cost;
  }

  #programOf(sql: string, bound: readonly unknown[]): readonly ProgramStep[] {
    return this.#db.prepare<unknown[], ProgramStep>(`EXPLAIN ${sql}`).all(...bound);
  }

  /** Whether it looks at nothing whose size grows with the file: tools read the schema by functions of its rows. */
  #readsOnlySchema(sql: string, bound: readonly unknown[]): boolean {
    if (OF_ALL_PAGES.test(sql) || this.#namedIn.get(sql) !== undefined) return false;
    return this.#programOf(sql, bound).every(({ opcode, p2 }) => opcode !== 'OpenRead' || p2 === SCHEMA_ROOT);
  }
}

function tooCostly(why: string): OnewriterError {
  return new OnewriterError('READ_TOO_COSTLY', `${why}, and would hold up writes. ${REMEDY}`);
}
