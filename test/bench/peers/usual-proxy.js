import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import express from 'express';

/*
 * What people run today where several pods share SQLite files: one pod with an HTTP server, a connection per tenant, and
 * a promise chain per tenant so that its statements run one after the other. Written in their style, with their shapes;
 * with synchronous=FULL, so that an answer means as much as ours.
 *
 *   node usual-proxy.js <data directory>      sends its parent {type: 'ready', port}
 */

const dataDir = process.argv[2];
const databases = new Map();
const queues = new Map();

function getDatabase(tenantId) {
  if (!databases.has(tenantId)) {
    const folder = join(dataDir, 'tenants', tenantId);
    mkdirSync(folder, { recursive: true });
    const db = new Database(join(folder, 'tenant.db'));
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('foreign_keys = ON');
    db.pragma('busy_timeout = 5000');
    databases.set(tenantId, db);
  }
  return databases.get(tenantId);
}

/** Runs `task` after all earlier tasks of the tenant. */
function inTurn(tenantId, task) {
  const result = (queues.get(tenantId) ?? Promise.resolve()).then(task);
  queues.set(
    tenantId,
    result.catch(() => {}),
  );
  return result;
}

function runStatement(db, query, params = []) {
  const statement = db.prepare(query);
  if (statement.reader) return { type: 'all', result: statement.all(...params) };
  const { changes, lastInsertRowid } = statement.run(...params);
  return { type: 'run', result: { changes, lastInsertRowid } };
}

const app = express();
app.use(express.json({ limit: '10mb' }));

app.post('/query', async (request, response) => {
  const { tenantId, query, params } = request.body;
  if (!tenantId || !query) return response.status(400).json({ error: 'tenantId and query are required' });
  try {
    response.json(await inTurn(tenantId, () => runStatement(getDatabase(tenantId), query, params)));
  } catch (error) {
    response.status(500).json({ error: error.message });
  }
});

app.post('/transaction', async (request, response) => {
  const { tenantId, queries } = request.body;
  if (!tenantId || !queries) return response.status(400).json({ error: 'tenantId and queries are required' });
  try {
    const results = await inTurn(tenantId, () => {
      const db = getDatabase(tenantId);
      return db.transaction(() =>
        queries.map(({ query, params }) => runStatement(db, query, params).result),
      )();
    });
    response.json({ results });
  } catch (error) {
    response.status(500).json({ error: error.message });
  }
});

app.get('/health', (_request, response) => response.json({ status: 'ok', databases: databases.size }));

const server = app.listen(0, '127.0.0.1', () =>
  process.send?.({ type: 'ready', port: server.address().port }),
);
server.keepAliveTimeout = 65_000;
process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => {
  for (const db of databases.values()) db.close();
  process.exit(0);
});
