import { Pool } from 'undici';
import type { Driver } from './driver.ts';

/**
 * The usual proxy, and our gateway's endpoints of the same shape: `POST /query` and `POST /transaction`, over keep-alive
 * connections, one request at a time on each.
 */
export async function openHttpDriver(spec: {
  url: string;
  token?: string | undefined;
  connections: number;
}): Promise<Driver> {
  const pool = new Pool(spec.url, { connections: spec.connections, pipelining: 1 });
  const headers = {
    'content-type': 'application/json',
    ...(spec.token === undefined ? {} : { authorization: `Bearer ${spec.token}` }),
  };

  const post = async (path: string, body: unknown): Promise<{ result?: unknown; results?: unknown[] }> => {
    const response = await pool.request({ path, method: 'POST', headers, body: JSON.stringify(body) });
    const answer = (await response.body.json()) as { result?: unknown; error?: unknown };
    if (response.statusCode !== 200)
      throw new Error(`${path}: ${response.statusCode} ${JSON.stringify(answer)}`);
    return answer;
  };

  return {
    script: async (tenantId, statements) => {
      for (const query of statements) await post('/query', { tenantId, query, params: [] });
    },
    write: async (tenantId, query, params) => {
      const { result } = await post('/query', { tenantId, query, params });
      return (result as { changes: number }).changes;
    },
    read: async (tenantId, query, params) => {
      const { result } = await post('/query', { tenantId, query, params });
      return (result as unknown[])[0];
    },
    transaction: async (tenantId, statements) => {
      const queries = statements.map(({ sql, params }) => ({ query: sql, params }));
      await post('/transaction', { tenantId, queries });
    },
    proveDurability: async tenantId => {
      // As a transaction, so that the gateway does not answer from a reader.
      const { results } = await post('/transaction', {
        tenantId,
        queries: [{ query: 'PRAGMA synchronous' }],
      });
      const [row] = (results as [[{ synchronous: number }]])[0];
      return `synchronous=${row.synchronous}`;
    },
    close: () => pool.close(),
  };
}
