import { once } from 'node:events';
import { connect } from 'node:net';
import { type Attack, pause } from '../rig.ts';

/* Attacks on the loop and the memory of the gateway itself. */

export const quotedBodies: Attack = {
  name: 'quoted-bodies',
  summary: 'bodies of escaped quotes without an end, and of digits',
  async run(target) {
    const token = await target.token('read');
    const bodies = [
      `{"sql":1234567890123456,"${'\\"'.repeat(200_000)}`,
      `{"sql":"SELECT ?","params":[${'7'.repeat(2_000_000)}]}`,
    ];
    for (let count = 0; !target.signal.aborted; count++) {
      await fetch(`${target.gatewayUrl}/v1/tenants/${target.tenant}/query`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: bodies[count % bodies.length]!,
        signal: target.signal,
      }).then(
        response => response.arrayBuffer(),
        () => {}, // refused
      );
    }
  },
};

const VIEWS = 22;

export const costlyViews: Attack = {
  name: 'costly-views',
  summary: 'lookups in views of views, which take seconds and gigabytes to compile',
  schema: [
    'CREATE VIEW v0 AS SELECT id AS a FROM t',
    ...Array.from(
      { length: VIEWS },
      (_, index) => `CREATE VIEW v${index + 1} AS SELECT a + a AS a FROM v${index}`,
    ),
  ].join(';'),
  async run(target) {
    for (let count = 0; !target.signal.aborted; count++)
      await target.ask(
        `/v1/tenants/${target.tenant}/query`,
        { sql: `SELECT a FROM v${VIEWS} WHERE a = ${count}` },
        { access: 'read' },
      );
  },
};

export const untakenAnswers: Attack = {
  name: 'untaken-answers',
  summary: '60 answers of 28 MB that are not taken',
  async run(target) {
    const token = await target.token('read');
    const body = JSON.stringify({ sql: 'SELECT hex(zeroblob(14000000)) AS a' });
    const head =
      `POST /v1/tenants/${target.tenant}/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    await Promise.all(
      Array.from({ length: 60 }, async () => {
        while (!target.signal.aborted) {
          const socket = connect(target.port, '127.0.0.1');
          socket.on('error', () => {}); // the gateway may close it
          target.signal.addEventListener('abort', () => socket.destroy(), { once: true });
          socket.write(head + body);
          await once(socket, 'close').catch(() => {});
          await pause(100);
        }
      }),
    );
  },
};

const LARGE_COMMENT = `/*${'x'.repeat(100_000)}*/`;

export const pipelinedAnswers: Attack = {
  name: 'pipelined-answers',
  summary:
    '20 connections with 100 requests each for a schema of 10 MB, for events, exports, facts and documents, that take nothing',
  async run(target) {
    const token = await target.token('read');
    const { tenant } = target;
    for (let index = 0; index < 100; index++) {
      const sql = `CREATE TABLE IF NOT EXISTS s${index}(a ${LARGE_COMMENT})`;
      await target.ask(`/v1/tenants/${tenant}/query`, { sql });
    }
    const paths = [
      ...Array.from({ length: 4 }, () => `/v1/tenants/${tenant}/schema`),
      ...['events', 'export', 'receipts/w-019378a1-7c3e-7000-8000-000000000000.0'].map(
        path => `/v1/tenants/${tenant}/${path}`,
      ),
      ...[`/info/${tenant}`, '/openapi.json', '/docs'],
    ];
    const requests = paths.map(
      path => `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    );
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        while (!target.signal.aborted) {
          const socket = connect(target.port, '127.0.0.1');
          socket.on('error', () => {}); // the gateway may close it
          target.signal.addEventListener('abort', () => socket.destroy(), { once: true });
          socket.write(Array.from({ length: 100 }, (_, index) => requests[index % requests.length]).join(''));
          await once(socket, 'close').catch(() => {});
          await pause(100);
        }
      }),
    );
  },
};

export const equalColumns: Attack = {
  name: 'equal-columns',
  summary: 'rows of 1,999 columns of one name',
  async run(target) {
    const sql = `SELECT ${Array.from({ length: 1_999 }, () => '1 a').join(',')}`;
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        while (!target.signal.aborted)
          await target.ask(`/v1/tenants/${target.tenant}/query`, { sql }, { access: 'read' });
      }),
    );
  },
};

export const wideRows: Attack = {
  name: 'wide-rows',
  summary: '1,300 rows of 1,991 columns, and of long names',
  async run(target) {
    const rows = (count: number, name: string) =>
      `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${count}) ` +
      `SELECT ${Array.from({ length: 1_991 }, (_, index) => `1 ${name}${index}`).join(',')} FROM c`;
    const texts = [rows(1_300, 'c'), rows(300, 'c'.repeat(400))];
    await Promise.all(
      Array.from({ length: 8 }, async (_, index) => {
        while (!target.signal.aborted)
          await target.ask(
            `/v1/tenants/${target.tenant}/query`,
            { sql: texts[index % texts.length]! },
            { access: 'read' },
          );
      }),
    );
  },
};
