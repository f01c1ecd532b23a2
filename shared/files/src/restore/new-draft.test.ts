import { chownSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { newDraft, removeLostDrafts } from './new-draft.ts';

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-draft-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

const OTHER_USER = 65534;

it.runIf(process.getuid?.() === 0)(
  'by root belongs to who has the data directory, with all folders above it',
  () => {
    const dataDir = makeFolder();
    chownSync(dataDir, OTHER_USER, OTHER_USER);
    const draft = newDraft(dataDir, tenantFile(dataDir, 'acme', 'tenant.db'));
    writeFileSync(draft.path, '');
    draft.dress();
    const made = [draft.path, dirname(draft.path), dirname(dirname(draft.path))];
    expect(made.map(path => statSync(path).uid)).toEqual([OTHER_USER, OTHER_USER, OTHER_USER]);
    expect(draft.warnings).toEqual([]);
  },
);

it('goes when its process was killed', () => {
  const folder = makeFolder();
  // Above the highest id that Linux gives.
  const gone = 2 ** 22 + 1;
  const names = [`a.db.restoring-${gone}-1`, `b.db.restoring-${gone}-1`, `a.db.restoring-${process.pid}-1`];
  for (const name of names) writeFileSync(join(folder, name), '');
  removeLostDrafts(join(folder, 'a.db'));
  expect(readdirSync(folder).sort()).toEqual(names.slice(1).sort());
  removeLostDrafts(join(folder, 'a.db'), true);
  expect(readdirSync(folder)).toEqual([names[1]]);
});
