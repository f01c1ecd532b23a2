import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newJobId, runningDir } from '@onewriter/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { readRunningNotes } from './running-notes.ts';

it('names the leaders that had jobs in threads, and neither idle ones nor those with jobs apart only', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-notes-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  expect(readRunningNotes(dataDir)).toEqual({ threads: [], apart: [], epochs: [] });
  mkdirSync(runningDir(dataDir), { recursive: true });
  const note = (name: string, jobs: string) => writeFileSync(join(runningDir(dataDir), name), jobs);
  const [a, b, c, d] = Array.from({ length: 4 }, newJobId);
  note('7.0', `${a}\n\n`);
  note('7.1', `${b}\n${c}\n\n`);
  note('8.0', '');
  note('9.apart', `${d}\n\n`);
  expect(readRunningNotes(dataDir)).toEqual({
    threads: [[a], [b, c]],
    apart: [d],
    epochs: ['7'],
  });
});
