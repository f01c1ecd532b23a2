import { dirname } from 'node:path';
import { makeFolder, ownerIn } from '@onewriter/files';
import { type HibernatedNote, hibernatedNotePath, noteHibernated } from '@onewriter/protocol';

/** Notes that a tenant is hibernated, where its broker may remove the note, whoever runs this. @throws Error of the file system */
export function putNote(dataDir: string, tenant: string, note: HibernatedNote): void {
  makeFolder(dirname(hibernatedNotePath(dataDir, tenant)), ownerIn(dataDir), []);
  noteHibernated(dataDir, tenant, note);
}
