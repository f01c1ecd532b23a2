import { once } from 'node:events';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { createGzip } from 'node:zlib';
import { type Attack, ask, ended, pause, type Target } from '../rig.ts';

/* Attacks that take all they can of what is shared, with one token. */

/** Opens a socket, writes, and keeps it until the attack ends. */
async function hold(target: Target, text: string, drip?: string | undefined): Promise<void> {
  const socket = connect(target.port, '127.0.0.1');
  socket.on('error', () => {}); // the gateway may close it
  socket.resume();
  target.signal.addEventListener('abort', () => socket.destroy(), { once: true });
  const closed = once(socket, 'close').catch(() => {});
  socket.write(text);
  const timer = drip === undefined ? undefined : setInterval(() => socket.write(drip), 1_000);
  await closed;
  clearInterval(timer);
}

/** Keeps `count` of something up, beginning again what was refused or ended. */
async function keepUp(target: Target, count: number, one: () => Promise<unknown>): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async () => {
      while (!target.signal.aborted) {
        await one().catch(() => {}); // refused: try again
        await pause(100);
      }
    }),
  );
}

function head(method: string, path: string, token: string, rest = ''): string {
  return `${method} ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n${rest}\r\n`;
}

/** ONEWRITER_MAX_BODY_BYTES: so many of them fill the pool of bodies, and leave no room for a smaller one. */
const LARGEST_BODY = 8 * 1024 * 1024;

/** The head of a query with the largest body. */
function largeQuery({ tenant }: Target, token: string): string {
  const rest = `Content-Type: application/json\r\nContent-Length: ${LARGEST_BODY}\r\n`;
  return head('POST', `/v1/tenants/${tenant}/query`, token, rest);
}

export const slowBodies: Attack = {
  name: 'slow-bodies',
  summary: '64 requests that declare the largest body and send a byte a second',
  async run(target) {
    const token = await target.token('read');
    const text = largeQuery(target, token);
    await keepUp(target, 64, () => hold(target, `${text}{"sql":"`, 'x'));
  },
};

export const largeBodies: Attack = {
  name: 'large-bodies',
  summary: '32 requests that send the largest body but for its last byte',
  async run(target) {
    const token = await target.token('read');
    const text = largeQuery(target, token);
    const body = '{"sql":"'.padEnd(LARGEST_BODY - 1, 'x');
    await keepUp(target, 32, () => hold(target, text + body));
  },
};

export const eventStreams: Attack = {
  name: 'event-streams',
  summary: '300 streams of events of one token',
  async run(target) {
    const token = await target.token('read');
    await keepUp(target, 300, () => hold(target, head('GET', `/v1/tenants/${target.tenant}/events`, token)));
  },
};

export const importStreams: Attack = {
  name: 'import-streams',
  summary: '64 imports that send a row a second',
  async run(target) {
    const token = await target.token('write');
    const text = head(
      'POST',
      `/v1/tenants/${target.tenant}/import?table=t`,
      token,
      'Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n',
    );
    await keepUp(target, 64, () => hold(target, text, 'a\r\n{"v":123}\n\r\n'));
  },
};

export const slowExports: Attack = {
  name: 'slow-exports',
  summary: '16 exports that are not read',
  schema:
    'INSERT INTO t(v) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200000) SELECT i FROM c;',
  async run(target) {
    const token = await target.token('read');
    await keepUp(target, 16, async () => {
      const socket = connect(target.port, '127.0.0.1');
      socket.on('error', () => {});
      target.signal.addEventListener('abort', () => socket.destroy(), { once: true });
      socket.write(head('GET', `/v1/tenants/${target.tenant}/export`, token));
      await once(socket, 'close').catch(() => {});
    });
  },
};

export const idleConnections: Attack = {
  name: 'idle-connections',
  summary: '2,000 connections that send half a request',
  async run(target) {
    await keepUp(target, 2_000, () => hold(target, 'GET /livez HTTP/1.1\r\n'));
  },
};

export const slowReads: Attack = {
  name: 'slow-reads',
  summary: '400 reads at the same time that end at their deadline only',
  async run(target) {
    const sql = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c';
    await keepUp(target, 400, () =>
      target.ask(`/v1/tenants/${target.tenant}/query`, { sql }, { access: 'read' }),
    );
  },
};

export const openTransactions: Attack = {
  name: 'open-transactions',
  summary: '200 libSQL streams that begin a transaction and store SQL texts',
  async run(target) {
    const requests = [
      ...Array.from({ length: 40 }, (_, id) => ({
        type: 'store_sql',
        sql_id: id,
        sql: `SELECT '${'x'.repeat(4_900)}'`,
      })),
      { type: 'execute', stmt: { sql: 'BEGIN' } },
      { type: 'execute', stmt: { sql: 'SELECT * FROM t LIMIT 1' } },
    ];
    await keepUp(target, 200, () => target.ask(`/t/${target.tenant}/v3/pipeline`, { requests }));
  },
};

export const floodOfWrites: Attack = {
  name: 'flood-of-writes',
  summary: '100 writers without a pause, and a backlog of enqueued writes',
  async run(target) {
    await keepUp(target, 100, async () => {
      await target.ask(`/v1/tenants/${target.tenant}/enqueue`, {
        sql: 'INSERT INTO t(v) VALUES (randomblob(10000))',
      });
      await target.ask(`/v1/tenants/${target.tenant}/query`, { sql: 'INSERT INTO t(v) VALUES (1)' });
    });
  },
};

export const fullChecks: Attack = {
  name: 'full-checks',
  summary: '32 full checks of a file at the same time',
  async run(target) {
    const token = await target.token('read');
    const path = `/info/${target.tenant}?check=full`;
    await keepUp(target, 32, () => hold(target, head('GET', path, token, 'Connection: close\r\n')));
  },
};

export const largeWrites: Attack = {
  name: 'large-writes',
  summary: '24 writes of 7 MB at the same time, which fill the buffer of the client that all tenants share',
  async run(target) {
    const sql = `INSERT INTO t(v) SELECT length('${'x'.repeat(900_000)}')`;
    await keepUp(target, 24, () =>
      target.ask(`/v1/tenants/${target.tenant}/transaction`, {
        statements: Array.from({ length: 7 }, () => ({ sql })),
      }),
    );
  },
};

export const strangers: Attack = {
  name: 'strangers',
  summary: 'requests without a valid token, as fast as they go',
  async run(target) {
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        while (!target.signal.aborted)
          await ask(
            target.gatewayUrl,
            `/v1/tenants/honest-0/query`,
            'x.y.z',
            { sql: 'SELECT 1' },
            target.signal,
          );
      }),
    );
    await ended(target.signal);
  },
};

export const unreadPipelines: Attack = {
  name: 'unread-pipelines',
  summary: '20 connections that send 100 requests each at once, again and again, and read no answer',
  async run(target) {
    const token = await target.token('read');
    const body = JSON.stringify({ sql: 'SELECT count(*) FROM t' });
    const rest = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
    const request = head('POST', `/v1/tenants/${target.tenant}/query`, token, rest) + body;
    await keepUp(target, 20, async () => {
      const socket = connect(target.port, '127.0.0.1').pause();
      socket.on('error', () => {}); // the gateway may close it
      const closed = once(socket, 'close').catch(() => {});
      socket.write(request.repeat(100));
      // So long the answers take; then the same with a connection of its own.
      await Promise.race([closed, pause(500), ended(target.signal)]);
      socket.destroy();
    });
  },
};

export const gzipBombs: Attack = {
  name: 'gzip-bombs',
  summary: '8 imports at a time of 1 MB that are 1 GB when unpacked: one line, or empty lines',
  async run(target) {
    const token = await target.token('write');
    const bombs = await Promise.all([packed('x'), packed('\n')]);
    let next = 0;
    await keepUp(target, 8, async () => {
      const response = await fetch(`${target.gatewayUrl}/v1/tenants/${target.tenant}/import?table=t`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/x-ndjson',
          'content-encoding': 'gzip',
        },
        body: bombs[next++ % bombs.length]!,
        signal: target.signal,
      });
      await response.arrayBuffer();
    });
  },
};

/** 1 GB of one character, packed. */
async function packed(character: string): Promise<Uint8Array<ArrayBuffer>> {
  const gzip = createGzip();
  const chunk = Buffer.alloc(1024 * 1024, character);
  const bytes = buffer(Readable.from(Array.from({ length: 1_024 }, () => chunk)).pipe(gzip));
  return new Uint8Array(await bytes);
}
