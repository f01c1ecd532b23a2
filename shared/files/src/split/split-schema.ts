import { shownName, sqliteMessage } from '@onewriter/protocol';
import { type BrokenObject, findBrokenObjects, inspected } from '@onewriter/runtime/inspect';
import Database from 'better-sqlite3';
import type { FileNote } from '../adopt/inspect-file.ts';
import { assertOwnSchema } from '../load/loaded-file.ts';
import { fold, type SchemaObject } from './source-schema.ts';
import type { SplitRules } from './split-rules.ts';

/** What each tenant gets of the schema, in the order in which it is made. */
export function objectsOfTenant({ schema, leftOut }: SplitRules): readonly SchemaObject[] {
  return schema.objects.filter(({ name, table }) => !leftOut.has(fold(name)) && !leftOut.has(fold(table)));
}

/** Makes that schema once, without rows, and finds what cannot be used in it although it can in the source. */
export function findSchemaTrouble(source: Database.Database, rules: SplitRules): readonly FileNote[] {
  const notes: FileNote[] = [];
  const refuse = ({ type, name }: Pick<SchemaObject, 'type' | 'name'>, reason: string) => {
    const option = type === 'index' ? '' : ` (--leave-out ${shownName(name)})`;
    notes.push({
      level: 'error',
      check: 'schema',
      found: `${type} ${shownName(name)} cannot be made in a tenant: ${reason}.`,
      next: `Leave it out${option}, or drop it first.`,
    });
  };
  const db = new Database(':memory:');
  try {
    db.pragma('foreign_keys = OFF');
    for (const object of objectsOfTenant(rules)) {
      try {
        db.exec(object.sql);
      } catch (error) {
        refuse(object, sqliteMessage(error));
      }
    }
    assertOwnSchema(db);
    const keyOf = ({ type, name }: BrokenObject) => `${type} ${fold(name)}`;
    const before = new Set(findBrokenObjects(inspected(source)).map(keyOf));
    for (const broken of findBrokenObjects(inspected(db))) {
      if (!before.has(keyOf(broken))) refuse(broken, broken.error);
    }
    return notes;
  } finally {
    db.close();
  }
}
