import { type DataPlace, ownerIn } from '@onewriter/files';
import { type LogPosition, markOf } from '@onewriter/writer';
import { CloseNotes } from '../ship/close-notes.ts';

/**
 * As if its last broker had closed it here: what is written next is stored as what it is, not as a file that has to be read whole.
 * @returns warnings
 */
export function noteClosed(
  { dataDir }: DataPlace,
  tenant: string,
  file: string,
  pos: number,
  to: LogPosition,
): readonly string[] {
  const mark = markOf(file);
  const warnings: string[] = [];
  if (mark !== undefined)
    new CloseNotes(dataDir, { owner: ownerIn(dataDir), warnings }).write(tenant, { pos, to, mark });
  return warnings;
}
