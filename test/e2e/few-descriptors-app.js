import { closeSync, openSync, readdirSync } from 'node:fs';
import { connect } from '@onewriter/sdk';

/*
 * An application that may open few files, run by few-descriptors.e2e.test.ts. Arguments: the Redis URL, the data directory,
 * what it does, the number of tenants, and maxOpenReaders where it is set. Prints what it found as JSON.
 */

const [redis, dataDir, action, tenantCount, maxOpenReaders] = process.argv.slice(2);
const onewriter = await connect({
  redis,
  dataDir,
  reads: 'file',
  ...(maxOpenReaders === undefined ? {} : { maxOpenReaders: Number(maxOpenReaders) }),
});
const tenants = Array.from({ length: Number(tenantCount) }, (_, index) => onewriter.tenant(`t-${index}`));
const actions = { 'write-and-read': writeAndRead, 'fill-and-read': fillAndRead };
process.stdout.write(`${JSON.stringify(await actions[action]())}\n`);
await onewriter.close();

/** Writes to all tenants at a time, twice, and reads what was written. */
async function writeAndRead() {
  const codes = {};
  let read = 0;
  const count = async work => {
    try {
      return await work();
    } catch (error) {
      codes[error.code] = (codes[error.code] ?? 0) + 1;
      return undefined;
    }
  };
  await Promise.all(tenants.map(db => count(() => db.exec('CREATE TABLE IF NOT EXISTS t(n INTEGER)'))));
  for (const n of [1, 2]) {
    await Promise.all(tenants.map(db => count(() => db.prepare('INSERT INTO t VALUES (?)').run(n))));
    for (const db of tenants) {
      const row = await count(() => db.prepare('SELECT max(n) AS newest FROM t').get());
      if (row?.newest === n) read++;
    }
  }
  return { codes, read, openFiles: readdirSync('/proc/self/fd').length };
}

/** Takes all descriptors that are left, before and after it has files of its own to close. */
async function fillAndRead() {
  const [first, second, third] = tenants;
  const read = async db => {
    try {
      return (await db.prepare('SELECT count(*) AS rows FROM t').get()).rows;
    } catch (error) {
      return { code: error.code, retryable: error.retryable, retryAfterMs: error.details.retryAfterMs };
    }
  };
  const taken = fill();
  const withNothingToClose = await read(first);
  for (const file of taken.splice(0)) closeSync(file);
  const withRoom = [await read(first), await read(second)];
  taken.push(...fill());
  const withSomeToClose = await read(third);
  for (const file of taken) closeSync(file);
  return { withNothingToClose, withRoom, withSomeToClose };
}

function fill() {
  const files = [];
  for (;;) {
    try {
      files.push(openSync('/dev/null', 'r'));
    } catch {
      return files;
    }
  }
}
