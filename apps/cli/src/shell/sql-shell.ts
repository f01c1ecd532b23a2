import {
  assertTenantId,
  isNotOwnTableSql,
  isOnewriterError,
  OnewriterError,
  shownName,
  toWireError,
} from '@onewriter/protocol';
import type { Onewriter, Tenant } from '@onewriter/sdk';
import { remedyFor } from '../remedy.ts';
import { formatResult, RESULT_MODES, type ResultMode } from './format-result.ts';
import { atStatement } from './locate-error.ts';
import { type BufferedStatement, StatementBuffer } from './statement-buffer.ts';

const HELP = `Statements end with a semicolon. Reads are done directly, writes go through the broker, each alone: BEGIN and
COMMIT are refused, a script that is all or nothing is \`onewriter sql <tenant> --script <file>\`.

.tables [pattern]   tables and views
.schema [table]     their SQL
.mode [${RESULT_MODES.join('|')}]   how results are shown
.timer [on|off]     how long each statement took
.tenant [id]        go to another tenant
.help               this
.quit               leave; so does Ctrl-D
`;

/** Leaves out the writer's tables, which are not the tenant's. */
const isTenantsSql = (name: string) =>
  `${name} NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND ${isNotOwnTableSql(name)}`;

/** Options of {@link SqlShell}. */
export interface SqlShellOptions {
  readonly onewriter: Pick<Onewriter, 'tenant'>;
  readonly tenant: string;
  readonly mode: ResultMode;
  readonly timeoutMs: number | undefined;
  /** Errors name the statement and its line: the input is a file. */
  readonly locates?: boolean | undefined;
  readonly write: (text: string) => void;
  readonly writeError: (text: string) => void;
}

/** What a line led to. */
export type LineOutcome = 'ok' | 'failed' | 'quit';

/** Runs lines of SQL and commands that begin with a dot, and writes the results. Knows no terminal. */
export class SqlShell {
  readonly #options: SqlShellOptions;
  readonly #buffer = new StatementBuffer();
  #db: Tenant;
  #mode: ResultMode;
  #timer = false;
  /** Statements that were begun. */
  #statements = 0;
  #running: AbortController | undefined;

  /** @throws OnewriterError INVALID_TENANT */
  constructor(options: SqlShellOptions) {
    this.#options = options;
    this.#db = options.onewriter.tenant(options.tenant);
    this.#mode = options.mode;
  }

  get tenant(): string {
    return this.#db.id;
  }

  /** Whether a statement was begun and has not ended. */
  get isOpen(): boolean {
    return this.#buffer.isOpen;
  }

  /** Takes a line. Statements that are whole are run, until one fails. */
  async line(line: string): Promise<LineOutcome> {
    try {
      const command = line.trim();
      if (!this.isOpen && command.startsWith('.')) {
        this.#buffer.skip();
        return await this.#command(command);
      }
      return await this.#runAll(this.#buffer.push(line));
    } catch (error) {
      this.#report(error);
      return 'failed';
    }
  }

  /** The input has ended: what is left is a statement without its semicolon. */
  async end(): Promise<LineOutcome> {
    try {
      return await this.#runAll(this.#buffer.takeRest());
    } catch (error) {
      this.#report(error);
      return 'failed';
    }
  }

  /** Drops what was begun, or ends the wait for what runs. @returns whether there was anything */
  interrupt(): boolean {
    if (this.#running !== undefined) {
      this.#running.abort();
      return true;
    }
    const wasOpen = this.isOpen;
    this.#buffer.clear();
    return wasOpen;
  }

  /** Names of tables, views and columns, for completion. Empty where they cannot be read. */
  async names(): Promise<string[]> {
    const sql = `SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND ${isTenantsSql('name')}
      UNION SELECT c.name FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table' AND s.rootpage > 0
        AND ${isTenantsSql('s.name')}`; // a virtual table may be of a module that is not known here
    try {
      const { rows = [] } = await this.#db.execute(sql, [], { rowMode: 'array' });
      return rows.map(([name]) => String(name));
    } catch (error) {
      if (isOnewriterError(error)) return []; // completion is a help, not a promise
      throw error;
    }
  }

  async #runAll(statements: readonly BufferedStatement[]): Promise<'ok'> {
    for (const { sql, line } of statements) {
      this.#statements++;
      try {
        await this.#run(sql);
      } catch (error) {
        throw this.#options.locates ? atStatement(error, this.#statements, line) : error;
      }
    }
    return 'ok';
  }

  async #run(sql: string): Promise<void> {
    const { timeoutMs, write } = this.#options;
    const running = new AbortController();
    this.#running = running;
    const started = performance.now();
    try {
      const result = await this.#db.execute(sql, [], {
        rowMode: 'array',
        safeIntegers: true,
        timeoutMs,
        signal: running.signal,
      });
      write(formatResult(result, this.#mode));
      if (this.#timer) write(`${(performance.now() - started).toFixed(1)} ms\n`);
    } finally {
      this.#running = undefined;
    }
  }

  async #command(line: string): Promise<LineOutcome> {
    const { write } = this.#options;
    const [name, argument, ...more] = line.replace(/;$/, '').split(/\s+/);
    if (more.length > 0) throw refuse(`${name} takes one argument at most.`);
    switch (name) {
      case '.quit':
      case '.exit':
        return 'quit';
      case '.help':
        write(HELP);
        return 'ok';
      case '.tables':
        write(await this.#tables(argument));
        return 'ok';
      case '.schema':
        write(await this.#schema(argument));
        return 'ok';
      case '.mode':
        this.#mode = chooseMode(argument, this.#mode);
        write(`mode: ${this.#mode}\n`);
        return 'ok';
      case '.timer':
        this.#timer = argument === undefined ? !this.#timer : argument === 'on';
        write(`timer: ${this.#timer ? 'on' : 'off'}\n`);
        return 'ok';
      case '.tenant':
        if (argument !== undefined) this.#db = this.#options.onewriter.tenant(assertTenantId(argument));
        write(`tenant: ${this.tenant}\n`);
        return 'ok';
      default:
        throw refuse(`There is no ${name}; .help lists what there is.`);
    }
  }

  async #tables(pattern: string | undefined): Promise<string> {
    const sql = `SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND ${isTenantsSql('name')} AND name LIKE ? ORDER BY name`;
    const { rows = [] } = await this.#db.execute(sql, [pattern ?? '%'], { rowMode: 'array' });
    if (this.#mode === 'json') return `${JSON.stringify(rows.map(([name]) => name))}\n`;
    return rows.map(([name]) => `${shownName(String(name))}\n`).join('');
  }

  async #schema(table: string | undefined): Promise<string> {
    const sql = `SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND ${isTenantsSql('name')} AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE)
      ORDER BY tbl_name, type <> 'table', name`;
    const { rows = [] } = await this.#db.execute(
      sql.replaceAll('?1', '@table'),
      { table: table ?? null },
      {
        rowMode: 'array',
      },
    );
    if (this.#mode === 'json') return `${JSON.stringify(rows.map(([text]) => text))}\n`;
    if (rows.length === 0 && table !== undefined)
      throw refuse(`There is no table ${shownName(table)}; .tables lists them.`);
    return rows.map(([text]) => `${text};\n`).join('');
  }

  #report(error: unknown): void {
    const wire = toWireError(error);
    const next = remedyFor(wire.code);
    const text =
      this.#mode === 'json'
        ? JSON.stringify({ error: wire })
        : `${wire.code} ${wire.message}${next === undefined ? '' : ` Next: ${next}`}`;
    this.#options.writeError(`${text}\n`);
  }
}

function chooseMode(text: string | undefined, now: ResultMode): ResultMode {
  if (text === undefined) return now;
  if (RESULT_MODES.includes(text as ResultMode)) return text as ResultMode;
  throw refuse(`The mode is one of ${RESULT_MODES.join(', ')}.`);
}

function refuse(message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message);
}
