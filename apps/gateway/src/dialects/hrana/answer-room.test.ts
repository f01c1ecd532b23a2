import { EventEmitter } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { openHranaGateway } from '../../../test-support/hrana-gateway.ts';

const UNREAD_BYTES = 70 * 1024 * 1024;
const stmt = { sql: 'SELECT a FROM t' };
const execute = (sql: string) => ({ type: 'execute', stmt: { sql } });

/** A gateway, and a client that reads none of its answers. */
async function open() {
  const gateway = await openHranaGateway();
  onTestFinished(() => gateway.close());
  gateway.writer.open('acme').db.exec("CREATE TABLE t(a); INSERT INTO t VALUES ('x'), ('y')");
  const token = await gateway.signToken(['acme'], 'write');
  const ask = async (path: string, body: object): Promise<number> => {
    const outgoing = Object.assign(new EventEmitter(), {
      ...{ writableLength: UNREAD_BYTES, closed: false, req: { socket: { destroyed: false } } },
      setHeader: () => {},
    });
    const headers = { authorization: `Bearer ${token}` };
    const request = { method: 'POST', headers, body: new Blob([JSON.stringify(body)]) };
    const { status } = await gateway.app.request(`/t/acme${path}`, request, { outgoing });
    return status;
  };
  return { gateway, ask };
}

it.each<[path: string, body: object, streams: number]>([
  ['/v3/pipeline', { requests: [execute(stmt.sql), { type: 'close' }] }, 0],
  ['/v3/pipeline', { requests: [execute(stmt.sql)] }, 1],
  ['/v3/pipeline', { requests: [execute('BEGIN'), execute(stmt.sql)] }, 1],
  ['/v3/cursor', { batch: { steps: [{ stmt: { sql: 'BEGIN' } }, { stmt }] } }, 1],
  ['/v1/execute', { stmt }, 0],
  ['/v1/batch', { batch: { steps: [{ stmt }] } }, 0],
  ['/', { statements: [stmt.sql] }, 0],
])('of POST …%s %j ends where earlier answers are unread', async (path, body, streams) => {
  const { gateway, ask } = await open();
  // All have begun before the first is answered.
  const statuses = await Promise.all([ask(path, body), ask(path, body), ask(path, body)]);
  expect(statuses.sort()).toEqual([200, 429, 429]);
  // Those whose batons never arrive have ended.
  expect(gateway.hrana.streams.size).toBe(streams);
});

it('is there for what was written', async () => {
  const { gateway, ask } = await open();
  let answer = () => {};
  gateway.writer.pause = new Promise(resolve => {
    answer = resolve;
  });
  const body = { requests: [execute("INSERT INTO t VALUES ('z')"), execute(stmt.sql)] };
  const asked = [ask('/v3/pipeline', body), ask('/v3/pipeline', body), ask('/v3/pipeline', body)];
  await expect.poll(() => gateway.writer.requests.length).toBe(3);
  answer();
  expect(await Promise.all(asked)).toEqual([200, 200, 200]);
});
