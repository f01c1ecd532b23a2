import { OnewriterError, SqlTokens, splitScript } from '@onewriter/protocol';
import { type CorpusScript, ScriptCollector } from './corpus-item.ts';
import {
  bracketed,
  literalOf,
  parseCommands,
  parseList,
  type TclCommand,
  TclSyntaxError,
  type TclWord,
} from './tcl.ts';

/*
 * SQLite's own tests are Tcl programs. Without a Tcl interpreter, what can be had of them are the SQL texts that stand in
 * them as they are. A branch that Tcl would not take, or a loop, is read once: it does no harm, because both sides run it.
 */

/** Commands whose argument at this place is SQL. */
const SQL_AT: Readonly<Record<string, number>> = {
  ...{ execsql: 1, catchsql: 1, execsql2: 1, execsql_pp: 1, stepsql: 2, execsql_test: 2 },
  ...{ do_execsql_test: 2, do_catchsql_test: 2, do_timed_execsql_test: 2, do_eqp_test: 2 },
  ...{ do_execsql_test2: 2, count: 1, cksort: 1, queryplan: 1 },
};
/** Methods of a connection whose argument is SQL. */
const METHODS: ReadonlySet<string> = new Set(['eval', 'one', 'onecolumn', 'exists']);
/** Commands of which every braced word may be a script. */
const HOLDS_SCRIPTS: ReadonlySet<string> = new Set([
  ...[
    'if',
    'foreach',
    'for',
    'while',
    'catch',
    'do_test',
    'uplevel',
    'eval',
    'time',
    'do_realnum_test',
    'switch',
  ],
]);
const NEEDS_TCL = 'SQL that Tcl puts together';
const NO_TEXT = 'SQL with a NUL or half a character, or over 1 MiB';
/** A database that the tests open beside the first one, under any name but `db`. */
const OTHER_CONNECTION = 'on a second connection';

/** Whether a text is one of SQLite's tests. */
export function isTclTest(text: string): boolean {
  return /\bdo_\w*test\b|\bexecsql\b/.test(text);
}

/** Reads the statements of one of SQLite's tests. */
export function parseTclTest(text: string): CorpusScript {
  const script = new ScriptCollector();
  new Extraction(script).run(text, 1, true);
  return script;
}

class Extraction {
  readonly #script: ScriptCollector;

  constructor(script: ScriptCollector) {
    this.#script = script;
  }

  /** @returns whether the file ends here */
  run(text: string, line: number, unconditional: boolean): boolean {
    try {
      for (const command of parseCommands(text, line)) {
        if (this.#command(command, unconditional)) return true;
      }
    } catch (error) {
      if (!(error instanceof TclSyntaxError)) throw error;
      this.#script.skip('Tcl that is not understood');
    }
    return false;
  }

  #command(command: TclCommand, unconditional: boolean): boolean {
    const [first, ...words] = command;
    const name = first!.text;
    if (name === 'finish_test' || name === 'return') {
      for (const word of words) this.#brackets(word);
      return unconditional;
    }
    if (name === 'ifcapable') return this.#ifCapable(words, unconditional);
    if (name === 'proc') return false;
    if (name === 'reset_db' || name === 'drop_all_tables') this.#script.reset(first!.line);
    // The tests keep their database in test.db.
    else if (
      /^(?:forcedelete|delete_file|file)$/.test(name) &&
      words.some(({ text }) => text === 'test.db')
    ) {
      if (name !== 'file' || words[0]?.text === 'delete') this.#script.reset(first!.line);
    } else if (name === 'sqlite3' && words[0]?.text === 'db' && words[1]?.text === ':memory:') {
      this.#script.reset(first!.line);
    } else if (name === 'db') this.#method(words);
    else if (Object.hasOwn(SQL_AT, name)) this.#sqlCommand(name, words);
    else if (name === 'do_select_tests') this.#selectTests(words);
    else if (HOLDS_SCRIPTS.has(name)) {
      for (const word of words) if (word.kind === 'braced') this.run(word.text, word.line, false);
    } else if (/^db\d+$/.test(name) && METHODS.has(words[0]?.text ?? '')) this.#script.skip(OTHER_CONNECTION);
    for (const word of words) this.#brackets(word);
    return false;
  }

  /** Everything that SQLite can be built with is taken for there: where it is not, both sides say so. */
  #ifCapable([condition, then, , otherwise]: TclCommand, unconditional: boolean): boolean {
    const body = condition !== undefined && isCapable(condition.text) ? then : otherwise;
    return body?.kind === 'braced' && this.run(body.text, body.line, unconditional);
  }

  #method(words: TclCommand): void {
    const [method, argument] = words;
    if (method === undefined || argument === undefined) return;
    if (METHODS.has(method.text)) this.#sql(argument);
    else if (method.text === 'transaction') {
      const body = words.at(-1)!;
      this.#script.add(method.line, 'BEGIN');
      this.run(body.text, body.line, false);
      this.#script.add(body.line, 'COMMIT');
    }
  }

  #sqlCommand(name: string, words: TclCommand): void {
    // `execsql SQL db2`, `do_execsql_test -db db2 …`
    const place = SQL_AT[name]! - 1;
    const database =
      place === 0 ? words[1]?.text : words[0]?.text.startsWith('-') ? words[1]?.text : undefined;
    const word = words[place];
    if (database !== undefined && database !== 'db') this.#script.skip(OTHER_CONNECTION);
    else if (word !== undefined) this.#sql(word, name === 'do_eqp_test' ? 'EXPLAIN QUERY PLAN ' : '');
  }

  /** do_select_tests prefix ?-options? { name SQL result … } */
  #selectTests(words: TclCommand): void {
    const list = words.at(-1);
    if (list?.kind !== 'braced' || words.some(({ text }) => text === '-tclquery' || text === '-query')) {
      this.#script.skip(NEEDS_TCL);
      return;
    }
    const elements = parseList(list.text, list.line);
    for (let at = 1; at < elements.length; at += 3) this.#sql(elements[at]!);
  }

  #sql(word: TclWord, prefix = ''): void {
    const text = literalOf(word);
    const statements = text === undefined ? undefined : splitText(text);
    if (text === undefined || statements === undefined) {
      this.#script.skip(text === undefined ? NEEDS_TCL : NO_TEXT);
      return;
    }
    let from = 0;
    for (const sql of statements) {
      const found = text.indexOf(sql, from);
      from = found + sql.length;
      if (hasVariable(sql)) this.#script.skip('statements with parameters');
      else this.#script.add(word.line + countLines(text, found), prefix + sql);
    }
  }

  #brackets(word: TclWord): void {
    for (const { text, line } of bracketed(word)) this.run(text, line, false);
  }
}

/** Undefined for a text that is none for SQLite. */
function splitText(text: string): readonly string[] | undefined {
  try {
    return splitScript(text);
  } catch (error) {
    if (error instanceof OnewriterError) return undefined;
    throw error;
  }
}

function hasVariable(sql: string): boolean {
  const tokens = new SqlTokens(sql);
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'variable') return true;
    // `$::name` and `$name(index)` are Tcl's own forms.
    if (kind === 'other' && tokens.text === '$') return true;
  }
  return false;
}

/** The value of `a && !b || (c)` if every name is true. */
function isCapable(condition: string): boolean {
  const tokens = condition.match(/\w+|&&|\|\||!|[()]/g) ?? [];
  let at = 0;
  const either = (): boolean => {
    let value = both();
    while (tokens[at] === '||') {
      at++;
      value = both() || value;
    }
    return value;
  };
  const both = (): boolean => {
    let value = single();
    while (tokens[at] === '&&') {
      at++;
      value = single() && value;
    }
    return value;
  };
  const single = (): boolean => {
    const token = tokens[at++];
    if (token === '!') return !single();
    if (token !== '(') return true;
    const value = either();
    at++;
    return value;
  };
  return either();
}

function countLines(text: string, to: number): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0 && at < to; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
}
