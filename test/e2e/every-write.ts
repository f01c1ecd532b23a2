import { createClient } from '@libsql/client';
import { isOnewriterError, type Onewriter } from '@onewriter/sdk';
import { drizzle } from '@onewriter/sdk/drizzle';
import { OnewriterDialect } from '@onewriter/sdk/kysely';
import { sql } from 'drizzle-orm';
import { Kysely } from 'kysely';

/** Where writes can be sent. */
export interface WritePlaces {
  readonly app: Onewriter;
  readonly gatewayUrl: string;
  readonly token: string;
}

const PATIENT = { timeoutMs: 60_000 };

/** Sends a tenant a write of every kind and through every interface, those that fail and that leave nothing included. */
export async function writeEveryWay(places: WritePlaces, tenant: string): Promise<void> {
  const { app } = places;
  const db = app.tenant(tenant);
  await db.exec(
    'CREATE TABLE t(n INTEGER PRIMARY KEY, name TEXT UNIQUE); CREATE TABLE child(n REFERENCES t(n) DEFERRABLE INITIALLY DEFERRED)',
    PATIENT,
  );
  await Promise.all([1, 2, 3, 4].map(n => db.prepare('INSERT INTO t(name) VALUES (?)').run(`sdk ${n}`)));
  await refused(db.prepare("INSERT INTO t(name) VALUES ('sdk 1')").run());
  await refused(db.prepare("INSERT OR ROLLBACK INTO t(name) VALUES ('sdk 1')").run());
  await db.transaction(
    [{ sql: "INSERT INTO t(name) VALUES ('tx')" }, { sql: 'DELETE FROM t WHERE n = 1' }],
    PATIENT,
  );
  await refused(
    db.transaction([{ sql: 'DELETE FROM t' }, { sql: 'INSERT INTO nothing VALUES (1)' }], PATIENT),
  );
  await refused(db.prepare('INSERT INTO child VALUES (99)').run());
  await (await db.enqueue("INSERT INTO t(name) VALUES ('enqueued')")).committed(PATIENT);
  await writeSteps(places, tenant);
  await writeWithLibraries(places, tenant);
  await writeOverHttp(places, tenant);
}

async function writeSteps({ app }: WritePlaces, tenant: string): Promise<void> {
  const db = app.tenant(tenant);
  const steps = (...texts: string[]) => ({ steps: texts.map(text => ({ sql: text })) });
  const insert = "INSERT INTO t(name) VALUES ('s' || hex(randomblob(8)))";
  await db.steps(steps('SELECT 1'), PATIENT);
  await db.steps(steps(insert, 'BEGIN', insert, 'COMMIT'), PATIENT);
  await db.steps(steps('BEGIN', insert, 'COMMIT', 'BEGIN', insert, 'COMMIT'), PATIENT);
  await db.steps(steps('SAVEPOINT a', insert, 'RELEASE a', insert), PATIENT);
  await db.steps(steps('PRAGMA foreign_keys = OFF', 'SELECT 1'), PATIENT);
  // Nothing stays of these.
  await db.steps(steps('BEGIN', insert, 'ROLLBACK'), PATIENT);
  await db.steps(steps('BEGIN', insert), PATIENT);
  await db.steps(steps('INSERT INTO nothing VALUES (1)', 'COMMIT'), PATIENT);
  for (const end of ['COMMIT', 'ROLLBACK']) {
    const { transaction } = await db.steps(
      { ...steps('BEGIN IMMEDIATE', insert), interactive: true },
      PATIENT,
    );
    const more = { ...steps(insert), transaction: transaction!.id, interactive: true };
    await db.steps(more, PATIENT);
    await db.steps({ ...steps(end), transaction: transaction!.id, interactive: true }, PATIENT);
  }
  // It commits, and leaves a transaction open.
  const open = await db.steps({ ...steps(insert, 'BEGIN', insert), interactive: true }, PATIENT);
  await db.steps({ ...steps('ROLLBACK'), transaction: open.transaction!.id, interactive: true }, PATIENT);
}

async function writeWithLibraries({ app }: WritePlaces, tenant: string): Promise<void> {
  const db = drizzle(app.tenant(tenant));
  await db.transaction(async tx => {
    await tx.run(sql`INSERT INTO t(name) VALUES ('drizzle')`);
    await tx.get(sql`SELECT count(*) FROM t`);
  });
  await db
    .transaction(async tx => {
      await tx.run(sql`DELETE FROM t`);
      throw new Undone();
    })
    .catch(assertUndone);
  const kysely = new Kysely<{ t: { name: string } }>({
    dialect: new OnewriterDialect({ tenant: app.tenant(tenant) }),
  });
  await kysely
    .transaction()
    .execute(trx => trx.insertInto('t').values({ name: 'kysely' }).executeTakeFirstOrThrow());
  await kysely
    .transaction()
    .execute(async trx => {
      await trx.deleteFrom('t').execute();
      throw new Undone();
    })
    .catch(assertUndone);
}

async function writeOverHttp({ gatewayUrl, token }: WritePlaces, tenant: string): Promise<void> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const post = async (path: string, body: unknown, more: Record<string, string> = {}) => {
    const response = await fetch(`${gatewayUrl}${path}`, {
      method: 'POST',
      headers: { ...headers, ...more },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    await response.arrayBuffer();
    if (response.status >= 500) throw new Error(`${path}: ${response.status}`);
  };
  await post('/query', { tenantId: tenant, query: "INSERT INTO t(name) VALUES ('drop-in')", params: [] });
  await post('/transaction', {
    tenantId: tenant,
    queries: [{ query: "INSERT INTO t(name) VALUES ('drop-in tx')", params: [] }],
  });
  const own = `/v1/tenants/${tenant}`;
  const keyed = { 'idempotency-key': 'once' };
  await post(`${own}/query`, { sql: "INSERT INTO t(name) VALUES ('v1')" }, keyed);
  await post(`${own}/query`, { sql: "INSERT INTO t(name) VALUES ('v1')" }, keyed);
  await post(`${own}/script`, { sql: "INSERT INTO t(name) VALUES ('script'); DELETE FROM t WHERE n = 2" });
  await post(`${own}/import?table=t`, '{"name":"imported 1"}\n{"name":"imported 2"}\n', {
    'content-type': 'application/x-ndjson',
  });
  const client = createClient({ url: `${gatewayUrl}/t/${tenant}/`, authToken: token });
  try {
    await client.execute("INSERT INTO t(name) VALUES ('libsql')");
    await client.batch(["INSERT INTO t(name) VALUES ('batch')", 'SELECT 1'], 'write');
    await client
      .batch(["INSERT INTO t(name) VALUES ('batch 2')", 'INSERT INTO nothing VALUES (1)'], 'write')
      .then(
        () => Promise.reject(new Error('It should fail.')),
        () => {},
      );
    await client.executeMultiple("BEGIN; INSERT INTO t(name) VALUES ('multiple'); COMMIT;");
    for (const end of ['commit', 'rollback'] as const) {
      const transaction = await client.transaction('write');
      await transaction.execute(`INSERT INTO t(name) VALUES ('interactive ${end}')`);
      await transaction[end]();
    }
    const left = await client.transaction('write');
    await left.execute("INSERT INTO t(name) VALUES ('left')");
    left.close();
  } finally {
    client.close();
  }
}

class Undone extends Error {}

function assertUndone(error: unknown): void {
  if (!(error instanceof Undone)) throw error;
}

/** Waits for a write that the tenant refuses. */
async function refused(write: Promise<unknown>): Promise<void> {
  try {
    await write;
  } catch (error) {
    if (isOnewriterError(error) && error.code !== 'OUTCOME_UNKNOWN') return;
    throw error;
  }
  throw new Error('The write should have been refused.');
}
