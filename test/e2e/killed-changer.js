import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { swapFile, takeAwayFile } from '@onewriter/files/changes';
import Database from 'better-sqlite3';

/*
 * Changes the file of the tenant acme and kills itself before the given step: a call that changes a name, a file or a database.
 * Arguments: kind of change, data directory, path of the tenant's file, number of the step.
 */

const [kind, dataDir, path, killAt] = process.argv.slice(2);
let steps = 0;

/** Has each call of these methods count as a step. */
function countSteps(object, names) {
  for (const name of names) {
    const call = object[name];
    object[name] = function (...args) {
      steps++;
      if (steps === Number(killAt)) process.kill(process.pid, 'SIGKILL');
      return call.apply(this, args);
    };
  }
}

countSteps(fs, [
  'renameSync',
  'linkSync',
  'symlinkSync',
  'unlinkSync',
  'rmSync',
  'writeSync',
  'copyFileSync',
  'closeSync',
]);
syncBuiltinESMExports();
countSteps(Database.prototype, ['exec', 'pragma', 'close']);

const place = { dataDir, group: 'default', dbFile: 'tenant.db', busyTimeoutMs: 1_000 };
if (kind === 'taken away') takeAwayFile(place, 'acme', () => {});
else swapFile(path, `${path}.fresh`, kind === 'kept' ? `${path}.replaced-1` : undefined, 1_000);
