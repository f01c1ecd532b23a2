import { type CorpusScript, ScriptCollector } from './corpus-item.ts';

const RECORD = /^(?:statement\s+(?:ok|error)|query\s+\S+)/;
const ENGINE = 'sqlite';

/** Whether a text is in sqllogictest's format. */
export function isSqllogictest(text: string): boolean {
  return /^(?:statement\s+(?:ok|error)|query\s+[A-Z]+(?:\s|$))/m.test(text);
}

/**
 * Reads the statements of a sqllogictest file. Its expected results are left out: what plain SQLite answers is what is
 * expected.
 * Source of the format: about.wiki in sqllogictest.
 */
export function parseSqllogictest(text: string): CorpusScript {
  const script = new ScriptCollector();
  const lines = text.split(/\r?\n/);
  /** `skipif` and `onlyif` stand before the record that they are about. */
  let wanted = true;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    const [word, argument] = line.trimEnd().split(/\s+/);
    if (word === 'skipif' || word === 'onlyif') {
      if ((argument === ENGINE) === (word === 'skipif')) wanted = false;
      continue;
    }
    if (word === 'halt') {
      if (wanted) break;
      wanted = true;
      continue;
    }
    // hash-threshold says when results are written as a hash.
    if (!RECORD.test(line)) continue;
    const first = at + 1;
    const sql: string[] = [];
    while (at + 1 < lines.length && lines[at + 1]! !== '' && !lines[at + 1]!.startsWith('----'))
      sql.push(lines[++at]!);
    // Values, or their number and MD5, up to an empty line.
    while (at + 1 < lines.length && lines[at + 1]! !== '') at++;
    if (wanted && sql.length > 0) script.add(first + 1, sql.join('\n'));
    else script.skip('for other databases');
    wanted = true;
  }
  return script;
}
