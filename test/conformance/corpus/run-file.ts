import { classifyStatement, classifyStep, OnewriterError, tenantFile } from '@onewriter/protocol';
import { type Answer, compareAnswers, describeAnswer, shorten } from './answer.ts';
import { hashContents } from './content-hash.ts';
import type { CorpusItem, CorpusScript } from './corpus-item.ts';
import { FULL_TEXT_LAYOUT, findDocumented, findNotCompared, isFullTextPart } from './documented.ts';
import { count, type Difference, type FileReport, MAX_DIFFERENCES } from './file-report.ts';
import type { InterfaceName, Session } from './interfaces.ts';
import { PlainSqlite } from './plain-sqlite.ts';

/** What {@link runFile} needs besides the file. */
export interface RunFileOptions {
  readonly through: InterfaceName;
  readonly file: string;
  readonly script: CorpusScript;
  /** Statements to run at most. */
  readonly limit: number;
  /** Items that are left out, by their place: they ended the process before. */
  readonly leftOut: readonly number[];
  /** Folder of its own, for plain SQLite's file. */
  readonly folder: string;
  /** Data directory of the running Onewriter. */
  readonly dataDir: string;
  readonly pragmas: readonly string[];
  /** Ids of tenants that were not used before. */
  readonly newTenant: () => string;
  readonly openSession: (tenant: string) => Session;
  /** Called before each item is run, which may never come back, and from time to time while files are compared. */
  readonly onItem: (index: number) => void;
}

/** Why an item is left out. */
export const ENDLESS = 'would not end, or ended its process';
const PARTED = 'after a documented difference in what the database holds';
const MAX_SHOWN_SQL = 1_000;

/** Runs a file's statements side by side through an interface and on plain SQLite, and compares. */
export async function runFile(options: RunFileOptions): Promise<FileReport> {
  const run = new FileRun(options);
  try {
    await run.all();
  } finally {
    run.close();
  }
  return run.report();
}

interface OpenDatabase {
  readonly tenant: string;
  readonly session: Session;
  readonly plain: PlainSqlite;
  different: boolean;
  /** They hold different rows, as they may: nothing more can be compared. */
  parted: boolean;
}

class FileRun {
  readonly #options: RunFileOptions;
  readonly #skipped: Record<string, number>;
  readonly #refused: Record<string, number> = {};
  readonly #documented: Record<string, number> = {};
  readonly #differences: Difference[] = [];
  /** The item that was run last. */
  #index = 0;
  #statements = 0;
  #equal = 0;
  #different = 0;
  #database: OpenDatabase | undefined;

  constructor(options: RunFileOptions) {
    this.#options = options;
    this.#skipped = { ...options.script.skipped };
  }

  async all(): Promise<void> {
    const { script, limit, leftOut, onItem } = this.#options;
    for (const [index, item] of script.items.entries()) {
      if (this.#statements >= limit) break;
      if (item.type === 'reset') await this.#endDatabase(item.line);
      else if (leftOut.includes(index)) count(this.#skipped, ENDLESS);
      else {
        this.#index = index;
        onItem(index);
        await this.#statement(item);
      }
    }
    await this.#endDatabase(script.items.at(-1)?.line ?? 0);
  }

  close(): void {
    this.#database?.plain.close();
    this.#database = undefined;
  }

  report(): FileReport {
    const { through, file } = this.#options;
    return {
      ...{ through, file, statements: this.#statements, equal: this.#equal, different: this.#different },
      ...{ skipped: this.#skipped, refused: this.#refused, documented: this.#documented },
      differences: this.#differences,
    };
  }

  async #statement({ sql, line }: Extract<CorpusItem, { type: 'statement' }>): Promise<void> {
    const notCompared = this.#database?.parted ? PARTED : findNotCompared(sql);
    if (notCompared !== undefined) return count(this.#skipped, notCompared);
    this.#statements++;
    this.#database ??= await this.#openDatabase();
    const { session, plain, tenant } = this.#database;
    const here = await session.run(sql);
    if (here.type === 'refused') return count(this.#refused, here.rule);

    const expected = plain.run(sql, insertsRows(sql));
    const kind = compareAnswers(here, expected);
    if (kind === undefined) this.#equal++;
    else {
      const { through, dataDir } = this.#options;
      const context = { sql, here, plain: expected, file: tenantFile(dataDir, tenant) };
      const documented = findDocumented(through, context);
      if (documented !== undefined) {
        count(this.#documented, documented.reason);
        this.#database.parted = documented.contents ?? false;
      } else this.#differs(line, kind, sql, here, expected);
    }
  }

  #differs(line: number, kind: string, sql: string, here: Answer | string, plain: Answer | string): void {
    const { through, file } = this.#options;
    this.#different++;
    const follows = this.#database!.different;
    this.#database!.different = true;
    if (this.#differences.length >= MAX_DIFFERENCES) return;
    const [shownHere, shownPlain] = [here, plain].map(it =>
      typeof it === 'string' ? it : describeAnswer(it),
    );
    this.#differences.push({
      ...{ through, file, line, kind, follows, sql: shorten(sql, MAX_SHOWN_SQL) },
      ...{ here: shownHere!, plain: shownPlain! },
    });
  }

  async #openDatabase(): Promise<OpenDatabase> {
    const { newTenant, openSession, folder, pragmas } = this.#options;
    const tenant = newTenant();
    const session = openSession(tenant);
    // A write that changes nothing makes the file: else the first reads would find none.
    const made = await session.run('PRAGMA user_version = 0');
    if (made.type !== 'ok') throw new Error(`The tenant ${tenant} cannot be made: ${describeAnswer(made)}`);
    return { tenant, session, plain: new PlainSqlite(folder, pragmas), different: false, parted: false };
  }

  async #endDatabase(line: number): Promise<void> {
    if (this.#database === undefined) return;
    const { session, plain, parted } = this.#database;
    await session.end();
    plain.endTransaction();
    if (!parted) this.#compareContents(line, this.#database);
    plain.close();
    this.#database = undefined;
  }

  /** Compares what is in the two files. */
  #compareContents(line: number, { tenant, plain }: OpenDatabase): void {
    const isAlive = () => this.#options.onItem(this.#index);
    isAlive();
    const file = tenantFile(this.#options.dataDir, tenant);
    const here = hashContents(file, isAlive);
    const expected = hashContents(plain.path, isAlive);
    for (const name of new Set([...here.keys(), ...expected.keys()])) {
      const [hash, right] = [here.get(name) ?? 'not there', expected.get(name) ?? 'not there'];
      if (hash === right) continue;
      if (this.#options.through === 'libsql' && isFullTextPart(file, name.replace(/^table /, ''))) {
        count(this.#documented, FULL_TEXT_LAYOUT);
      } else this.#differs(line, 'contents at the end', name, hash, right);
    }
  }
}

/** Whether a statement is an INSERT, so that its last rowid means something. */
function insertsRows(sql: string): boolean {
  try {
    const step = classifyStep(sql);
    return step.kind === 'statement' && classifyStatement(sql).inserts;
  } catch (error) {
    if (error instanceof OnewriterError) return false;
    throw error;
  }
}
