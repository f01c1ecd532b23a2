import { createInterface } from 'node:readline';
import { historyPath, MAX_HISTORY_LINES, readHistory, writeHistory } from './history-file.ts';
import type { SqlShell } from './sql-shell.ts';

const KEYWORDS = [
  'SELECT FROM WHERE INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE INDEX VIEW TRIGGER DROP ALTER ADD COLUMN',
  'PRIMARY KEY REFERENCES NOT NULL UNIQUE DEFAULT CHECK ORDER BY GROUP HAVING LIMIT OFFSET JOIN LEFT ON AS AND OR',
  'RETURNING EXPLAIN QUERY PLAN PRAGMA WITH RECURSIVE DISTINCT COUNT SUM MIN MAX',
].flatMap(line => line.split(' '));
const COMMANDS = ['.tables', '.schema', '.mode', '.timer', '.tenant', '.help', '.quit'];

/**
 * Runs a shell at a terminal, with history and completion, until it is left. Ctrl-C drops what was typed or ends the wait
 * for a statement, and leaves where there is neither.
 */
export async function runAtTerminal(shell: SqlShell): Promise<void> {
  const path = historyPath();
  let history = readHistory(path);
  const terminal = createInterface({
    input: process.stdin,
    output: process.stdout,
    history: [...history],
    historySize: MAX_HISTORY_LINES,
    removeHistoryDuplicates: true,
    completer: (line: string, callback: (error: null, result: [string[], string]) => void) => {
      void complete(shell, line).then(result => callback(null, result));
    },
  });
  terminal.on('history', lines => {
    history = lines;
  });
  process.stdout.write(`Onewriter, tenant ${shell.tenant}. Statements end with a semicolon; .help, .quit\n`);
  const prompt = () => {
    terminal.setPrompt(shell.isOpen ? `${' '.repeat(shell.tenant.length)}> ` : `${shell.tenant}> `);
    terminal.prompt();
  };
  let queue: Promise<unknown> = Promise.resolve();
  await new Promise<void>(resolve => {
    terminal.on('line', line => {
      // One after the other, also where many lines are pasted at once.
      queue = queue.then(async () => {
        if ((await shell.line(line)) === 'quit') terminal.close();
        else prompt();
      });
    });
    terminal.on('SIGINT', () => {
      if (!shell.interrupt()) terminal.close();
      else {
        process.stdout.write('\n');
        prompt();
      }
    });
    terminal.once('close', () => resolve(queue.then(() => {})));
    prompt();
  });
  writeHistory(path, history);
}

async function complete(shell: SqlShell, line: string): Promise<[string[], string]> {
  const word = /[\w.]*$/.exec(line)?.[0] ?? '';
  if (line.trimStart().startsWith('.') && !line.trimStart().includes(' ')) {
    return [COMMANDS.filter(command => command.startsWith(word)), word];
  }
  if (word === '') return [[], word];
  const upper = word.toUpperCase();
  const isUpper = word === upper;
  const keywords = KEYWORDS.filter(keyword => keyword.startsWith(upper)).map(keyword =>
    isUpper ? keyword : keyword.toLowerCase(),
  );
  const names = (await shell.names()).filter(name => name.toUpperCase().startsWith(upper));
  return [[...new Set([...names, ...keywords])], word];
}
