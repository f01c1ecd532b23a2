import { OnewriterError } from '@onewriter/protocol';
import type { Tenant, TransactionStatement } from '@onewriter/sdk';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it } from 'vitest';
import { createLocalTenant } from '../../test-support/local-tenant.ts';
import { MAX_CARDS_PER_BOARD, type NewCard } from '../board.ts';
import { migrate } from '../migrate.ts';
import { SCHEMA_VERSION } from '../schema.ts';
import { KanbanStore } from './kanban-store.ts';

const AT = '2026-11-21T00:00:00.000Z';

let database: Database.Database;
let tenant: Tenant;
let store: KanbanStore;

beforeEach(async () => {
  database = new Database(':memory:');
  tenant = createLocalTenant(database);
  store = new KanbanStore(tenant);
  await migrate(tenant);
  return () => database.close();
});

function newCard(id: string, columnId = 'todo'): NewCard {
  return {
    id,
    columnId,
    title: `Card ${id}`,
    description: '',
    memberId: null,
    priority: 'normal',
    effort: null,
    dueDate: null,
    at: AT,
  };
}

async function createBoard(id = 'b'): Promise<void> {
  const prefix = id === 'b' ? '' : `${id}-`;
  await store.boards.create({ id, title: 'Board', createdAt: AT }, [
    { id: `${prefix}todo`, title: 'To do' },
    { id: `${prefix}done`, title: 'Done' },
  ]);
}

async function order(columnId: string): Promise<string[]> {
  const { cards } = await store.boards.read('b');
  const column = cards.filter(card => card.columnId === columnId);
  expect(column.map(card => card.position)).toEqual(column.map((_, index) => index));
  return column.map(card => card.id);
}

describe('migrate', () => {
  it('is done once, and again without effect', async () => {
    await migrate(tenant);
    expect(database.prepare('SELECT version FROM migration').pluck().all()).toEqual([SCHEMA_VERSION]);
    expect(database.pragma('user_version', { simple: true })).toBe(SCHEMA_VERSION);
  });

  it('accepts that another process was faster', async () => {
    const other = new Database(':memory:');
    const late = createLocalTenant(other);
    const exec = late.exec.bind(late);
    const slow = Object.assign(late, {
      exec: async (script: string) => {
        await exec(script); // the other process
        return exec(script);
      },
    });
    await migrate(slow);
    expect(other.pragma('user_version', { simple: true })).toBe(SCHEMA_VERSION);
    other.close();
  });

  it('refuses a schema that a newer program made', async () => {
    database.pragma(`user_version = ${SCHEMA_VERSION + 1}`);
    await expect(migrate(tenant)).rejects.toMatchObject({ code: 'MISCONFIGURED' });
  });
});

describe('cards', () => {
  it('gives each card of a tenant the next ticket, and a refused card none', async () => {
    await createBoard();
    await createBoard('c');
    expect(await store.cards.create(newCard('one'))).toBe(1);
    expect(await store.cards.create(newCard('two', 'c-todo'))).toBe(2);
    await expect(store.cards.create(newCard('three', 'nowhere'))).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(store.cards.create(newCard('one'))).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' });
    expect(await store.cards.create(newCard('four'))).toBe(3);
    expect(await order('todo')).toEqual(['four', 'one']);
  });

  it('refuses a card on a full board', async () => {
    await createBoard();
    for (let count = 0; count < MAX_CARDS_PER_BOARD; count++) await store.cards.create(newCard(`c${count}`));
    await expect(store.cards.create(newCard('over', 'done'))).rejects.toMatchObject({ code: 'BOARD_FULL' });
    await store.cards.delete('c0');
    await store.cards.create(newCard('over', 'done'));
  });

  it('changes only the fields that are given', async () => {
    await createBoard();
    await store.cards.create({ ...newCard('one'), effort: 3, dueDate: '2026-12-01' });
    await store.cards.edit('one', { title: 'New', dueDate: null }, '2026-11-22T00:00:00.000Z');
    expect(await store.cards.read('one')).toMatchObject({
      title: 'New',
      effort: 3,
      dueDate: null,
      createdAt: AT,
      updatedAt: '2026-11-22T00:00:00.000Z',
    });
    await expect(store.cards.edit('none', { title: 'x' }, AT)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('moves within a column, to another one, and nowhere else', async () => {
    await createBoard();
    await createBoard('c');
    for (const id of ['d', 'c', 'b', 'a']) await store.cards.create(newCard(id));
    expect(await store.cards.move('a', 'todo', 2, AT)).toBe(3);
    expect(await order('todo')).toEqual(['b', 'c', 'a', 'd']);
    expect(await store.cards.move('b', 'done', 99, AT)).toBe(4);
    expect(await order('todo')).toEqual(['c', 'a', 'd']);
    expect(await order('done')).toEqual(['b']);
    expect(await store.cards.move('b', 'done', 0, AT)).toBe(0);
    await expect(store.cards.move('b', 'c-todo', 0, AT)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(store.cards.move('none', 'done', 0, AT)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const { columns } = await store.boards.read('b');
    expect(columns.map(column => column.cardCount)).toEqual([3, 1]);
  });

  it('plans a move again when another writer changed the order in between', async () => {
    await createBoard();
    for (const id of ['c', 'b', 'a']) await store.cards.create(newCard(id));
    const transaction = tenant.transaction.bind(tenant);
    let overtaken = 0;
    Object.assign(tenant, {
      transaction: async (statements: TransactionStatement[]) => {
        if (overtaken++ === 0)
          await new KanbanStore(createLocalTenant(database)).cards.move('c', 'todo', 0, AT);
        return transaction(statements);
      },
    });
    await store.cards.move('a', 'todo', 2, AT);
    expect(overtaken).toBe(2);
    expect(await order('todo')).toEqual(['c', 'b', 'a']);
  });

  it('gives up on an order that others change all the time', async () => {
    await createBoard();
    for (const id of ['b', 'a']) await store.cards.create(newCard(id));
    Object.assign(tenant, {
      transaction: async () => {
        throw new OnewriterError('EXPECTATION_FAILED', 'Overtaken.');
      },
    });
    await expect(store.cards.move('a', 'todo', 1, AT)).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('deletes a card with all that hangs on it', async () => {
    await createBoard();
    for (const id of ['c', 'b', 'a']) await store.cards.create(newCard(id));
    await store.cards.addTag('b', 'bug');
    await store.cards.addComment({
      id: 'm',
      cardId: 'b',
      memberId: null,
      text: 'Look',
      at: AT,
      attachments: [{ id: 'f', name: 'x.png', url: '/x', type: 'image/png', sizeBytes: 1 }],
    });
    await store.cards.delete('b');
    expect(await order('todo')).toEqual(['a', 'c']);
    const left = (table: string) => database.prepare(`SELECT * FROM ${table}`).all();
    expect([left('comment'), left('attachment'), left('card_tag')]).toEqual([[], [], []]);
    expect(left('tag')).toMatchObject([{ name: 'bug' }]);
    await expect(store.cards.delete('b')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('tags twice as once, and reports that a card is gone', async () => {
    await createBoard();
    await store.cards.create(newCard('one'));
    await store.cards.addTag('one', 'ui');
    await store.cards.addTag('one', 'bug');
    await store.cards.addTag('one', 'ui');
    expect((await store.cards.read('one')).tags).toEqual(['bug', 'ui']);
    await store.cards.removeTag('one', 'ui');
    await store.cards.removeTag('one', 'ui');
    expect((await store.cards.read('one')).tags).toEqual(['bug']);
    await expect(store.cards.addTag('none', 'ui')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const comment = { id: 'm', cardId: 'none', memberId: null, text: 'x', at: AT, attachments: [] };
    await expect(store.cards.addComment(comment)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('columns', () => {
  it('are added at the end; deleting one deletes its cards and leaves no gap', async () => {
    await createBoard();
    await store.boards.addColumn('b', { id: 'later', title: 'Later' });
    await store.cards.create(newCard('one', 'done'));
    await store.cards.create(newCard('two', 'later'));
    await store.boards.deleteColumn('done');
    const board = await store.boards.read('b');
    expect(board.columns.map(column => [column.id, column.position])).toEqual([
      ['todo', 0],
      ['later', 1],
    ]);
    expect(board.cards.map(card => card.id)).toEqual(['two']);
    await expect(store.boards.deleteColumn('done')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(store.boards.addColumn('x', { id: 'y', title: 'Y' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });
});

describe('the activity log', () => {
  it('keeps the newest 10,000 lines', async () => {
    await createBoard();
    await store.cards.create(newCard('one'));
    await store.members.put({ id: 'm', name: 'Ada' });
    database.transaction(() => {
      const insert = database.prepare(`INSERT INTO activity(action) VALUES ('x')`);
      for (let count = 1; count <= 10_199; count++) insert.run();
    })();
    await store.activity.enqueue({ memberId: 'm', action: 'create-card', boardId: 'b', cardId: 'one' });
    expect(database.prepare('SELECT COUNT(*) FROM activity').pluck().get()).toBe(10_000);
    const [newest, ...others] = await store.activity.list(3);
    expect(newest).toMatchObject({ id: 10_200, memberName: 'Ada', cardTitle: 'Card one', details: {} });
    expect(others).toHaveLength(2);
  });
});
