import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Worker } from 'bullmq';

/*
 * BullMQ used plainly: one queue, one worker, a job for each write, a commit for each job.
 *
 *   node bullmq-worker.js <redis url> <queue> <data directory>      sends its parent {type: 'ready', port: 0}
 */

const [redisUrl, queue, dataDir] = process.argv.slice(2);
const databases = new Map();

function getDatabase(tenant) {
  if (!databases.has(tenant)) {
    const folder = join(dataDir, 'tenants', tenant);
    mkdirSync(folder, { recursive: true });
    const db = new Database(join(folder, 'tenant.db'));
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    databases.set(tenant, db);
  }
  return databases.get(tenant);
}

const worker = new Worker(
  queue,
  async job => {
    const { tenant, statements } = job.data;
    const db = getDatabase(tenant);
    // Asks how the connection syncs.
    if (statements.length === 0) return db.pragma('synchronous', { simple: true });
    if (statements.length === 1) return db.prepare(statements[0].sql).run(...statements[0].params).changes;
    return db.transaction(() => {
      let changes = 0;
      for (const { sql, params } of statements) changes += db.prepare(sql).run(...params).changes;
      return changes;
    })();
  },
  { connection: { url: redisUrl } },
);
worker.on('error', error => process.stderr.write(`${error.message}\n`));
await worker.waitUntilReady();
process.send?.({ type: 'ready', port: 0 });
process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', async () => {
  await worker.close();
  for (const db of databases.values()) db.close();
  process.exit(0);
});
