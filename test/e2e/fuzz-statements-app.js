import { connect } from '@onewriter/sdk';
import { pickChange, pickStatement, READS, randomFrom, SCHEMA, WRITES } from './fuzz-statements.js';

/*
 * An app that sends random statements through an SDK client while it changes the schema, in transactions and on its readers.
 * Arguments: data directory, Redis, tenant, rounds, seed. Ends with 0; a statement may fail for its SQL, and for nothing else.
 */

const [dataDir, redis, tenant, rounds, seed] = process.argv.slice(2);
const app = await connect({ redis, dataDir });
const db = app.tenant(tenant);
const random = randomFrom(Number(seed));
const OF_SQL = new Set(['SQL_ERROR', 'CONSTRAINT_VIOLATION']);

async function attempt(run) {
  try {
    await run();
  } catch (error) {
    if (!OF_SQL.has(error.code)) throw error;
  }
}

for (const sql of SCHEMA) await db.exec(sql);
for (let round = 0; round < Number(rounds); round++) {
  const statements = [];
  for (let count = 0; count < 6; count++) {
    statements.push(
      pickStatement(random, WRITES),
      ...(random(3) === 0 ? pickChange(random, round * 6 + count) : []),
    );
  }
  await attempt(() => db.transaction(statements.map(sql => ({ sql }))));
  for (let count = 0; count < 6; count++) {
    const sql = pickStatement(random, [...READS, ...WRITES]);
    await attempt(() => db.execute(sql));
    await attempt(async () => {
      for await (const _ of db.prepare(pickStatement(random, READS)).iterate());
    });
  }
}
await app.close();
