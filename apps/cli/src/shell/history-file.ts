import { homedir } from 'node:os';
import { join } from 'node:path';
import { readFileIfThere } from '@onewriter/protocol';
import { writePrivateFile } from '../private-file.ts';

/** Lines that are kept. */
export const MAX_HISTORY_LINES = 1_000;

/** ONEWRITER_HISTORY, else `~/.onewriter_history`; readable by its owner alone. '' switches it off. */
export function historyPath(): string {
  return process.env['ONEWRITER_HISTORY'] ?? join(homedir(), '.onewriter_history');
}

/** The newest first, as readline wants it. */
export function readHistory(path: string): string[] {
  if (path === '') return [];
  try {
    const lines = (readFileIfThere(path) ?? '').split('\n').filter(line => line !== '');
    return lines.reverse().slice(0, MAX_HISTORY_LINES);
  } catch {
    return []; // a history that cannot be read is none
  }
}

/** Keeps the lines, but for those that begin with a space. @param lines the newest first */
export function writeHistory(path: string, lines: readonly string[]): void {
  if (path === '') return;
  const kept = lines.filter(line => line.trim() !== '' && !line.startsWith(' ')).slice(0, MAX_HISTORY_LINES);
  try {
    writePrivateFile(path, `${kept.toReversed().join('\n')}\n`);
  } catch (error) {
    process.stderr.write(`onewriter: the history was not kept: ${(error as Error).message}\n`);
  }
}
