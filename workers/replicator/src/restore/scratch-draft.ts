import { dirname, join } from 'node:path';
import { makeFolder, newDraft, ownerIn, removeLostDrafts } from '@onewriter/files';

/**
 * A file beside the tenants' folders, to be discarded. The folder stays: the first draft of several would remove it before the others are
 * made. @param name of its own for each kind of work
 */
export function scratchDraft(dataDir: string, name: string): ReturnType<typeof newDraft> {
  const file = join(dataDir, 'replica', 'scratch', `${name}.db`);
  makeFolder(dirname(file), ownerIn(dataDir), []);
  removeLostDrafts(file);
  return newDraft(dataDir, file);
}
