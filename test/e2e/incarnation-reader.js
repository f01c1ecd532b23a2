import { connect } from '@onewriter/sdk';

/*
 * An SDK client that reads one tenant when it is asked to, and leaves an iteration open from one time to the next.
 * Arguments: data directory, Redis, tenant. Answers with what it read, one line of JSON.
 */

const [dataDir, redis, tenant] = process.argv.slice(2);
const app = await connect({ redis, dataDir });
const db = app.tenant(tenant);
let open;

async function count(rows) {
  const seen = new Set();
  let number = 0;
  for await (const { value } of rows) {
    seen.add(value);
    number++;
  }
  // Rows of two states are a mix.
  return seen.size > 1 ? [...seen] : number;
}

process.on('message', async () => {
  const answer = {};
  answer.get = (await db.prepare('SELECT value FROM t WHERE id = 1').get())?.value ?? null;
  answer.all = (await db.prepare('SELECT value FROM t').all()).length;
  answer.iterate = await count(db.prepare('SELECT value FROM t').iterate());
  answer.open = open === undefined ? null : 1 + (await count(open));
  open = db.prepare('SELECT value FROM t').iterate();
  await open.next();
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
process.on('disconnect', () => process.exit(0));
