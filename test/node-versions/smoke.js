import assert from 'node:assert/strict';
import { join } from 'node:path';
import { connect } from '@onewriter/sdk';
import { CLI_MAIN, spawnProcess, startStack, temporaryDirectory, waitFor } from '@onewriter/testkit';

/* A stack and an app on the Node that runs this: writes, reads, HTTP, a broker that is killed, the command line. */

// Without `await using`, which Node 22 does not parse.
const stack = await startStack();
const folder = await temporaryDirectory('node-versions');
try {
  await useStack();
} catch (error) {
  console.error(stack.logs());
  throw error;
} finally {
  await stack[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
}

async function useStack() {
  const app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  const db = app.tenant('acme');
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, big INTEGER UNIQUE, data BLOB)');
  const insert = db.prepare('INSERT INTO t(big, data) VALUES (?, ?)');
  const [first] = await Promise.all([
    insert.run(2n ** 62n, Buffer.from('x')),
    ...Array.from({ length: 200 }, (_, n) => insert.run(n, null)),
  ]);
  assert.equal(first.changes, 1);
  await assert.rejects(insert.run(7, null), { code: 'CONSTRAINT_VIOLATION' });
  await db.transaction([{ sql: 'DELETE FROM t WHERE big < 100', expect: { changes: 100 } }]);
  assert.deepEqual(await db.prepare('SELECT count(*) AS n FROM t').get(), { n: 101 });

  const query = async (/** @type {string} */ sql) => {
    const response = await fetch(`${stack.gatewayUrl}/query`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ tenantId: 'acme', query: sql, params: [] }),
    });
    assert.equal(response.status, 200, await response.clone().text());
    return response.json();
  };
  await query('INSERT INTO t(big) VALUES (5000)');
  assert.deepEqual((await query('SELECT big FROM t WHERE big = 5000')).result, [{ big: 5000 }]);

  process.kill(stack.currentPids().broker, 'SIGKILL');
  await db.prepare('INSERT INTO t(big) VALUES (5001)', { timeoutMs: 30_000 }).run();
  await waitFor(() => stack.logs().includes('broker is back'), { what: 'the broker' });

  for (const args of [
    ['check', '--all'],
    ['backup', 'acme', '--out', join(folder.path, 'backup')],
    ['export', 'acme', join(folder.path, 't.csv'), '--table', 't'],
  ]) {
    const command = await spawnProcess(process.execPath, [CLI_MAIN, ...args], {
      cwd: folder.path,
      env: { ONEWRITER_DATA_DIR: stack.dataDir, ONEWRITER_REDIS_URL: stack.redisUrl },
    });
    const { code } = await command.exited;
    console.log(`onewriter ${args[0]}: ${code === 0 ? 'ok' : command.logs()}`);
    assert.equal(code, 0);
  }
  await app.close();
  assert.equal((await stack.stop()).code, 0, stack.logs());
  console.log(`${process.version}: writes, reads, HTTP, a killed broker and the command line work`);
}
