import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import type { BoardView, CardView } from '@onewriter/kanban';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type SpawnedProcess,
  type Stack,
  spawnProcess,
  startStack,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { BoardModel } from '../kanban/board-model.ts';
import { type LoadReport, workloadOf } from '../kanban/run-load.ts';
import { readTenantContent } from '../kanban/tenant-content.ts';

const SERVER = new URL('../../apps/kanban/dist/main.js', import.meta.url);
const LOAD = new URL('../kanban/dist/main.js', import.meta.url);

let stack: Stack;
let onewriter: Onewriter;

beforeAll(async () => {
  stack = await startStack();
  onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});

afterAll(async () => {
  await onewriter?.close();
  await stack?.stop();
});

/** Starts a program against the stack. */
async function startProgram(file: URL, args: readonly string[] = []): Promise<SpawnedProcess> {
  const program = await spawnProcess(process.execPath, [fileURLToPath(file), ...args], {
    ipc: true,
    env: {
      ...withoutSettings(),
      ONEWRITER_REDIS_URL: stack.redisUrl,
      ONEWRITER_DATA_DIR: stack.dataDir,
      KANBAN_PORT: '0',
    },
  });
  return program;
}

describe('two load processes on 20 shared tenants', () => {
  const tenants = Array.from({ length: 20 }, (_, index) => `load-${index + 1}`);
  const load = { operations: 150, boards: 1, cardsPerBoard: 60 };
  const actors = [
    { actor: 'a', seed: 1_000, ...load },
    { actor: 'b', seed: 2_000, ...load },
  ];
  let reports: LoadReport[];

  beforeAll(async () => {
    const programs = await Promise.all(
      actors.map(({ actor, seed }) =>
        startProgram(LOAD, [
          ...['--tenants', tenants.join(','), '--actor', actor, '--seed', String(seed)],
          ...['--operations', String(load.operations), '--boards', String(load.boards)],
          ...['--cards-per-board', String(load.cardsPerBoard)],
        ]),
      ),
    );
    reports = await Promise.all(
      programs.map(async program => {
        const { code } = await program.exited;
        if (code !== 0) throw new Error(`The load failed:\n${program.stderr()}`);
        return JSON.parse(program.stdout()) as LoadReport;
      }),
    );
  });

  it('leave in every tenant what the model says after the same operations', async () => {
    for (const [index, tenantId] of tenants.entries()) {
      const model = new BoardModel();
      for (const [which, actor] of actors.entries()) {
        const tickets = reports[which]!.tickets[tenantId]!;
        for (const operation of workloadOf(actor, index)) {
          const ticket = operation.kind === 'create-card' ? tickets[operation.card.id] : undefined;
          model.apply(operation, { ticket });
        }
      }
      const content = await readTenantContent(onewriter.tenant(tenantId));
      // assert's message shows the difference; vitest's would print both contents.
      assert.deepStrictEqual(content, model.content(), `content of ${tenantId}`);
      expect(content.cards.length).toBeGreaterThan(100);
    }
  });

  it('give each card a ticket of its own, without gaps, rising for each process', () => {
    for (const tenantId of tenants) {
      const ofEach = reports.map(report => Object.values(report.tickets[tenantId]!));
      const all = ofEach.flat().sort((x, y) => x - y);
      expect(all).toEqual(all.map((_, index) => index + 1));
      for (const tickets of ofEach) expect(tickets).toEqual([...tickets].sort((x, y) => x - y));
      // The processes did meet: neither had all its tickets before the other's.
      const [first, second] = ofEach as [number[], number[]];
      expect(Math.min(...second)).toBeLessThan(Math.max(...first));
      expect(Math.min(...first)).toBeLessThan(Math.max(...second));
    }
  });

  it('have their log lines, written without waiting, in the order they were sent', async () => {
    for (const [index, tenantId] of tenants.entries()) {
      const lines = await onewriter
        .tenant(tenantId)
        .prepare<[], { actor: string; seq: number; action: string }>(
          `SELECT details ->> 'actor' AS actor, details ->> 'seq' AS seq, action FROM activity ORDER BY id`,
        )
        .all();
      for (const actor of actors) {
        const sent = Array.from(workloadOf(actor, index), ({ kind, seq }) => ({ seq, action: kind }));
        const logged = lines.filter(line => line.actor === actor.actor);
        expect(logged.map(({ seq, action }) => ({ seq, action }))).toEqual(sent);
      }
    }
  });

  it('leave sound files', async () => {
    for (const tenantId of tenants) {
      const tenant = onewriter.tenant(tenantId);
      expect(await tenant.pragma('integrity_check', { simple: true })).toBe('ok');
      expect(await tenant.pragma('foreign_key_check')).toEqual([]);
    }
  });
});

interface Server {
  readonly program: SpawnedProcess;
  readonly url: string;
}

async function startServer(): Promise<Server> {
  const program = await startProgram(SERVER);
  onTestFinished(async () => void (await program.stop()));
  const ready = await waitFor(() => program.messages[0] as { port: number } | undefined, {
    what: 'the kanban server',
  });
  return { program, url: `http://127.0.0.1:${ready.port}` };
}

async function call<Body>(
  { url }: Pick<Server, 'url'>,
  method: string,
  path: string,
  body?: unknown,
): Promise<Body> {
  const response = await fetch(url + path, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return (text === '' ? undefined : JSON.parse(text)) as Body;
}

describe('two kanban servers on one tenant', () => {
  it('see each other’s changes as soon as they are answered', async () => {
    const servers = [await startServer(), await startServer()];
    const board = await call<BoardView>(servers[0]!, 'POST', '/t/acme/api/boards', { title: 'Shared' });
    const column = board.columns[0]!.id;
    for (let round = 0; round < 100; round++) {
      const [writer, reader] = round % 2 === 0 ? servers : servers.toReversed();
      const { id } = await call<{ id: string }>(writer!, 'POST', `/t/acme/api/columns/${column}/cards`, {
        title: `Round ${round}`,
      });
      const card = await call<CardView>(reader!, 'GET', `/t/acme/api/cards/${id}`);
      expect(card).toMatchObject({ title: `Round ${round}`, ticket: round + 1, position: 0 });
      await call(reader!, 'PATCH', `/t/acme/api/cards/${id}`, { title: `Seen ${round}` });
      expect((await call<CardView>(writer!, 'GET', `/t/acme/api/cards/${id}`)).title).toBe(`Seen ${round}`);
    }
  });

  it('set up a new tenant at the same time, and number its cards without a race', async () => {
    const servers = [await startServer(), await startServer()];
    const boards = await Promise.all(
      servers.map(server => call<BoardView>(server, 'POST', '/t/race/api/boards', { title: 'Mine' })),
    );
    const created = await Promise.all(
      Array.from({ length: 120 }, (_, index) => {
        const column = boards[index % 3 === 0 ? 0 : 1]!.columns[index % 2]!.id;
        const path = `/t/race/api/columns/${column}/cards`;
        return call<{ ticket: number }>(servers[index % 2]!, 'POST', path, { title: `Card ${index}` });
      }),
    );
    const tickets = created.map(card => card.ticket).sort((x, y) => x - y);
    expect(tickets).toEqual(tickets.map((_, index) => index + 1));
  });

  it('drag cards on one board against each other, and keep every column in order', async () => {
    const servers = [await startServer(), await startServer()];
    const path = '/t/drag/api';
    const board = await call<BoardView>(servers[0]!, 'POST', `${path}/boards`, { title: 'Tug of war' });
    const ids: string[] = [];
    for (let count = 0; count < 24; count++) {
      const column = board.columns[count % 3]!.id;
      const created = await call<{ id: string }>(servers[0]!, 'POST', `${path}/columns/${column}/cards`, {
        title: `Card ${count}`,
      });
      ids.push(created.id);
    }
    await Promise.all(
      [0, 1, 2, 3, 4, 5].map(async person => {
        for (let drag = 0; drag < 25; drag++) {
          const cardId = ids[(drag * 7 + person * 3) % ids.length]!;
          const columnId = board.columns[(drag + person) % 3]!.id;
          const place = { columnId, position: drag % 9 };
          await call(servers[person % 2]!, 'POST', `${path}/cards/${cardId}/move`, place);
        }
      }),
    );
    const { cards, columns } = await call<BoardView>(servers[1]!, 'GET', `${path}/boards/${board.id}`);
    expect(cards.map(card => card.id).sort()).toEqual([...ids].sort());
    for (const column of columns) {
      const positions = cards.filter(card => card.columnId === column.id).map(card => card.position);
      expect(positions).toEqual(positions.map((_, index) => index));
      expect(column.cardCount).toBe(positions.length);
    }
  });

  it('answer what they have begun when one gets SIGTERM', async () => {
    const [ending, staying] = [await startServer(), await startServer()];
    const board = await call<BoardView>(ending, 'POST', '/t/drain/api/boards', { title: 'Drain' });
    const path = `/t/drain/api/columns/${board.columns[0]!.id}/cards`;
    const answered: string[] = [];
    let refused = 0;
    let stopping = false;
    const clients = Array.from({ length: 8 }, async (_, client) => {
      for (let count = 0; refused < 8 && count < 10_000; count++) {
        try {
          const { id } = await call<{ id: string }>(ending, 'POST', path, { title: `${client} ${count}` });
          answered.push(id);
          if (answered.length >= 100 && !stopping) {
            stopping = true;
            ending.program.kill('SIGTERM');
          }
          await call(ending, 'DELETE', `/t/drain/api/cards/${id}`);
        } catch (error) {
          // A connection that is refused or closed; never a 5xx from a server that still answers.
          if (!(error instanceof TypeError)) throw error;
          refused++;
          return;
        }
      }
    });
    await Promise.all(clients);
    expect((await ending.program.exited).code, ending.program.stderr()).toBe(0);
    expect(answered.length).toBeGreaterThanOrEqual(100);
    const lines = await onewriter
      .tenant('drain')
      .prepare<[], { cardId: string }>(`SELECT card_id AS cardId FROM activity WHERE action = 'create-card'`)
      .all();
    const logged = new Set(lines.map(line => line.cardId));
    expect(answered.filter(id => !logged.has(id))).toEqual([]);
    await call(staying, 'GET', '/t/drain/api/overview');
  });
});
