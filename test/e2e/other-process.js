import { existsSync } from 'node:fs';
import { settleDatabaseChange } from '@onewriter/protocol';
import Database from 'better-sqlite3';

/* A process that reads a tenant's file, keeps it open, or settles a change of it that was cut off, when it is asked to. */

const VALUES = 'SELECT value FROM t UNION SELECT value FROM u';
const connect = (path, { readonly }) => new Database(path, { readonly, fileMustExist: true, timeout: 1_000 });
let kept;

/** More than one value is a mix of two files. */
const valuesOf = db => db.prepare(VALUES).pluck().all().join(' and ');

function read(path) {
  if (!existsSync(path)) return null;
  const db = connect(path, { readonly: true });
  try {
    return valuesOf(db);
  } finally {
    db.close();
  }
}

function open({ path, readonly, reads }) {
  kept?.close();
  kept = connect(path, { readonly });
  return reads ? valuesOf(kept) : null;
}

function answer(request) {
  switch (request.what) {
    case 'read':
      return read(request.path);
    case 'settle':
      return settleDatabaseChange(request.path, connect);
    case 'open':
      return open(request);
    case 'read again':
      return valuesOf(kept);
  }
}

process.on('message', request => {
  try {
    process.send({ value: answer(request) });
  } catch (error) {
    process.send({ error: String(error) });
  }
});
process.on('disconnect', () => process.exit(0));
