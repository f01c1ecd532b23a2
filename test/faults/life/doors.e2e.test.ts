import { connect, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack } from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Door, gatewayDoors, sdkDoors } from './doors.ts';
import { ACCOUNTS, INITIAL_BALANCE } from './history.ts';
import { BALANCES_SQL, createScript, LIST_SQL, statementsOfChange, WHOLE_SQL } from './statements.ts';

/*
 * A door reports the true outcome of a transaction: the checker relies on it.
 */

let stack: Stack;
let client: Onewriter;

beforeAll(async () => {
  stack = await startStack();
  client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});
afterAll(async () => {
  await client?.close();
  await stack?.stop();
});

const doorsOf = (): Door[] => [
  ...sdkDoors(client),
  ...gatewayDoors({ url: stack.gatewayUrl, token: stack.token }),
];
/** Known before the stack runs. */
const MANY = [
  ...['sdk.transaction', 'sdk.steps', 'sdk.open', '/v1 transaction', '/transaction'],
  ...['libSQL batch', 'libSQL write', 'libSQL deferred'],
];
const READ = { sql: WHOLE_SQL, params: [] };

async function newTenant(name: string) {
  const tenant = client.tenant(
    name
      .toLowerCase()
      .replaceAll(/[^a-z]+/g, '-')
      .replace(/^-/, ''),
  );
  await tenant.exec(createScript(tenant.id));
  return tenant;
}

it('names all doors for several statements', () => {
  const many = doorsOf().filter(({ takes }) => takes.many);
  expect(many.map(({ name }) => name)).toEqual(MANY);
});

describe.each(MANY)('%s', name => {
  it.each([
    ['which reads first', true],
    ['which begins with a write', false],
  ])('leaves nothing of a transaction %s and fails', async (what, reads) => {
    const tenant = await newTenant(`${name} ${what}`);
    const door = doorsOf().find(one => one.name === name)!;
    const amount = INITIAL_BALANCE + 1;
    const plain = statementsOfChange({
      ...{ appends: [{ list: 'a', value: '1.0' }], transfer: { from: 0, to: 1, amount } },
    });
    const statements = reads ? [READ, ...plain, READ] : [...plain];

    const answer = await door.write(tenant.id, statements, { timeoutMs: 10_000, thinkMs: 1 });

    expect(answer).toMatchObject({ outcome: 'failed', code: expect.stringContaining('CONSTRAINT') });
    const balances = await tenant.prepare(BALANCES_SQL).all();
    expect(balances).toEqual(Array.from({ length: ACCOUNTS }, () => ({ balance: INITIAL_BALANCE })));
    await expect(tenant.prepare(LIST_SQL).all('a')).resolves.toEqual([]);
    // It is over, too: the next write doesn't wait for its deadline.
    await expect(
      tenant.prepare('INSERT INTO probe VALUES (1)', { timeoutMs: 2_000 }).run(),
    ).resolves.toMatchObject({
      changes: 1,
    });
  });
});
