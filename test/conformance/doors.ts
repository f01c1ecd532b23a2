import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Client, createClient } from '@libsql/client';
import type { Onewriter } from '@onewriter/sdk';
import { type Stack, temporaryDirectory } from '@onewriter/testkit';
import { connect as connectStream } from '@tursodatabase/serverless';
import { onTestFinished } from 'vitest';
import { runCli } from '../e2e/cli-run.ts';

/** Sends statements to a tenant, and fails if the answer is an error. */
export type Door = (tenant: string, statements: readonly string[]) => Promise<unknown>;

const OFF = 'PRAGMA foreign_keys=OFF';
const ON = 'PRAGMA foreign_keys=ON';

/** The door that gets one statement after the other, each in a request of its own. */
export const STREAM = 'one statement a request on a stream of @tursodatabase/serverless';

/** Each way in for the SQL of a migration. Some take no BEGIN: their request is the transaction. */
export function openDoors(stack: () => Stack, onewriter: () => Onewriter): Readonly<Record<string, Door>> {
  async function post(path: string, body: unknown): Promise<void> {
    const response = await fetch(stack().gatewayUrl + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${stack().token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(await response.text());
  }

  function libsql(tenant: string): Client {
    const client = createClient({ url: `${stack().gatewayUrl}/t/${tenant}/`, authToken: stack().token });
    onTestFinished(() => client.close());
    return client;
  }

  return {
    'exec() of the SDK': (tenant, statements) => onewriter().tenant(tenant).exec(statements.join(';')),
    'transaction() of the SDK': (tenant, statements) =>
      onewriter()
        .tenant(tenant)
        .transaction(statements.map(sql => ({ sql }))),
    '/v1 script': (tenant, statements) => post(`/v1/tenants/${tenant}/script`, { sql: statements.join(';') }),
    '/v1 transaction': (tenant, statements) =>
      post(`/v1/tenants/${tenant}/transaction`, { statements: statements.map(sql => ({ sql })) }),
    'drop-in /transaction': (tenantId, statements) =>
      post('/transaction', { tenantId, queries: statements.map(query => ({ query })) }),
    'onewriter sql --script': async (tenant, statements) => {
      const directory = await temporaryDirectory('script');
      onTestFinished(() => directory.remove());
      const file = join(directory.path, 'script.sql');
      await writeFile(file, statements.join(';\n'));
      const { code, stderr } = await runCli(['sql', tenant, '--script', file, '--data-dir', stack().dataDir]);
      if (code !== 0) throw new Error(stderr);
    },
    'migrate() of libSQL': (tenant, statements) => libsql(tenant).migrate(inner(statements)),
    'batch() of libSQL': (tenant, statements) =>
      libsql(tenant).batch([OFF, ...inner(statements), ON], 'write'),
    'executeMultiple() of libSQL': (tenant, statements) =>
      libsql(tenant).executeMultiple(statements.join(';')),
    'executeMultiple() without BEGIN': (tenant, statements) =>
      libsql(tenant).executeMultiple([OFF, ...inner(statements), ON].join(';')),
    'an interactive transaction of libSQL': async (tenant, statements) => {
      const transaction = await libsql(tenant).transaction('write');
      try {
        for (const sql of [OFF, ...inner(statements)]) await transaction.execute(sql);
        await transaction.commit();
      } finally {
        transaction.close();
      }
    },
    [STREAM]: async (tenant, statements) => {
      const connection = connectStream({
        url: `${stack().gatewayUrl}/t/${tenant}/`,
        authToken: stack().token,
      });
      onTestFinished(() => connection.close());
      for (const sql of statements) await connection.exec(sql);
    },
  };
}

/** Statements without the frame of their transaction. */
function inner(statements: readonly string[]): string[] {
  return statements.filter(sql => !/^(BEGIN|COMMIT|PRAGMA (defer_)?foreign_keys\s*=)/i.test(sql));
}
