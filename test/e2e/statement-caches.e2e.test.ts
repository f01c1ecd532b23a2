import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type Stack, startStack } from '@onewriter/testkit';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { pickChange, pickStatement, READS, randomFrom, SCHEMA, WRITES } from './fuzz-statements.js';

/*
 * SQLite shows the program of an EXPLAIN from the schema that it was compiled under, freed or not: where such a statement is
 * kept and run again, the process reads freed memory. So statements of all kinds run again and again through each API while the
 * schema changes. glibc overwrites what is freed (MALLOC_PERTURB_), so that a use of it shows.
 */

const PERTURB = { MALLOC_PERTURB_: '165' };
const APP = fileURLToPath(new URL('./fuzz-statements-app.js', import.meta.url));
/** More for a longer search: `ONEWRITER_TEST_ROUNDS=5000`. */
const ROUNDS = Number(process.env['ONEWRITER_TEST_ROUNDS'] ?? 60);
const SEED = 20_261_129;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ env: PERTURB });
});
afterAll(async () => {
  await stack?.stop();
});

interface Answer {
  readonly error?: { readonly code: string };
  readonly results?: readonly { readonly type: string; readonly error?: { readonly code: string } }[];
}

async function ask(path: string, body: object): Promise<Answer> {
  const response = await fetch(stack.gatewayUrl + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as Answer;
  expect(response.status, JSON.stringify(answer)).toBeLessThan(500);
  return answer;
}

/** Each process of the stack is the one that was started, and no reading process ended. */
function assertUnharmed(): void {
  expect(stack.currentPids()).toEqual(stack.pids);
  expect(stack.logs()).not.toMatch(/SIGSEGV|SIGABRT|SIGBUS|A reading process ended/i);
}

async function startSchema(tenant: string): Promise<void> {
  await ask(`/v1/tenants/${tenant}/script`, { sql: SCHEMA.join(';') });
}

it('survives the one that crashed it: an EXPLAIN that is run again when its table is gone', async () => {
  const sql = 'EXPLAIN INSERT INTO t1 SELECT * FROM t2';
  const change = (count: number) => [
    'DROP TABLE t1',
    `CREATE TABLE x${count}(q, w, e, r)`,
    'CREATE TABLE t1(a, b)',
  ];
  const statements = [
    'CREATE TABLE t1(a, b UNIQUE)',
    'CREATE TABLE t2(a, b)',
    ...Array.from({ length: 60 }, (_, count) => [sql, ...change(count)]).flat(),
  ].map(text => ({ sql: text }));
  await ask('/v1/tenants/known/transaction', { statements });
  for (let count = 100; count < 120; count++) {
    await ask('/v1/tenants/known/query', { sql });
    await ask('/v1/tenants/known/script', { sql: change(count).join(';') });
  }
  assertUnharmed();
});

it('survives random statements and changes of the schema in /v1', async () => {
  const random = randomFrom(SEED);
  await startSchema('v1');
  for (let round = 0; round < ROUNDS; round++) {
    const statements = Array.from({ length: 6 }, (_, count) => [
      pickStatement(random, WRITES),
      ...(random(3) === 0 ? pickChange(random, round * 6 + count) : []),
    ]).flat();
    await ask('/v1/tenants/v1/transaction', { statements: statements.map(sql => ({ sql })) });
    for (let count = 0; count < 6; count++) {
      await ask('/v1/tenants/v1/query', { sql: pickStatement(random, [...READS, ...WRITES]) });
    }
  }
  assertUnharmed();
});

it('survives them over libSQL, as stored texts in transactions', async () => {
  const random = randomFrom(SEED + 1);
  await startSchema('libsql');
  for (let round = 0; round < ROUNDS; round++) {
    const sql = pickStatement(random, [...READS, ...WRITES]);
    const run = { type: 'execute', stmt: { sql_id: 1 } };
    const direct = (text: string) => ({ type: 'execute', stmt: { sql: text } });
    const requests = [
      { type: 'store_sql', sql_id: 1, sql },
      direct(['BEGIN', 'BEGIN IMMEDIATE', 'BEGIN READONLY'][random(3)]!),
      run,
      ...pickChange(random, round).map(direct),
      run,
      direct(pickStatement(random, READS)),
      direct(random(2) === 0 ? 'COMMIT' : 'ROLLBACK'),
      run,
      { type: 'close' },
    ];
    const { results = [] } = await ask('/t/libsql/v3/pipeline', { requests });
    const failed = results.flatMap(result => result.error?.code ?? []);
    for (const code of failed) expect(code).toMatch(/^SQL|^STATEMENT_NOT_ALLOWED|^CONSTRAINT|^TRANSACTION/);
  }
  assertUnharmed();
});

it('survives them in an app with the SDK', async () => {
  const args = [stack.dataDir, stack.redisUrl, 'sdk', String(ROUNDS), String(SEED + 2)];
  const child = fork(APP, args, { env: { ...process.env, ...PERTURB } });
  onTestFinished(() => void child.kill('SIGKILL'));
  expect(await once(child, 'exit')).toEqual([0, null]);
  assertUnharmed();
});
