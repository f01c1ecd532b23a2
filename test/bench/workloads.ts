import type { Driver, SqlStatement } from './load/driver.ts';
import type { Random } from './load/random.ts';

/** The caller that performs an operation. */
export interface Caller {
  /** From 0. */
  readonly index: number;
  readonly random: Random;
  /** Operations this caller has begun, from 1. */
  turn: number;
}

/** What a caller does, the same for every system under test. */
export interface Workload {
  readonly schema: { readonly sqlite: readonly string[]; readonly postgres: readonly string[] };
  /** Rows that are there before the first operation. */
  readonly seed?: readonly SqlStatement[] | undefined;
  /**
   * Performs one operation.
   * @returns how much {@link check} must rise by it
   */
  perform(driver: Driver, tenant: string, caller: Caller): Promise<number>;
  /** One number of a tenant's database that shows what was really written. */
  readonly check: string;
}

const ITEM_SQLITE =
  'CREATE TABLE item(id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL)';
const ITEM_POSTGRES = ITEM_SQLITE.replace('INTEGER PRIMARY KEY', 'BIGSERIAL PRIMARY KEY');
const ITEM_SCHEMA = { sqlite: [ITEM_SQLITE], postgres: [ITEM_POSTGRES] };

/** The single-row insert of most workloads. */
export const INSERT_ITEM = 'INSERT INTO item(owner, title, body) VALUES (?, ?, ?)';
/** A row anywhere in the file. */
const UPDATE_ANYWHERE = 'UPDATE item SET owner = ? WHERE id = 1 + ? % (SELECT max(id) FROM item)';
const READ_ITEM = 'SELECT id, owner, title, body FROM item WHERE id = ?';
const COUNT_ITEMS = 'SELECT count(*) FROM item';
const BODY = 'forty characters of text in every row...';

/** Rows that reads choose from. */
export const SEEDED_ITEMS = 2_000;
const SEED_ITEMS: readonly SqlStatement[] = Array.from({ length: SEEDED_ITEMS }, (_, index) => ({
  sql: INSERT_ITEM,
  params: [index, `item ${index}`, BODY],
}));

function insertOf(body: string): Workload {
  return {
    schema: ITEM_SCHEMA,
    perform: (driver, tenant, caller) =>
      driver.write(tenant, INSERT_ITEM, [caller.index, `item ${caller.turn}`, body]),
    check: COUNT_ITEMS,
  };
}

/** Rows of one commit, each anywhere in an index. */
const INDEXED_ROWS = 256;
const INSERT_INDEXED: Workload = {
  schema: {
    sqlite: [ITEM_SQLITE, 'CREATE INDEX item_title ON item(title)'],
    postgres: [ITEM_POSTGRES, 'CREATE INDEX item_title ON item(title)'],
  },
  perform: async (driver, tenant, { index, random }) => {
    const rows = Array.from({ length: INDEXED_ROWS }, () => ({
      sql: INSERT_ITEM,
      params: [index, random().toString(36), BODY],
    }));
    await driver.transaction(tenant, rows);
    return INDEXED_ROWS;
  },
  check: COUNT_ITEMS,
};

async function readItem(driver: Driver, tenant: string, caller: Caller): Promise<void> {
  const id = 1 + Math.floor(caller.random() * SEEDED_ITEMS);
  const row = (await driver.read(tenant, READ_ITEM, [id])) as { title?: unknown } | undefined;
  if (row?.title !== `item ${id - 1}`) throw new Error(`Read ${JSON.stringify(row)} for row ${id}.`);
}

/** Cards that one drag renumbers. Source: `78-82 updates per drag` of the real app. */
export const CARDS_PER_DRAG = 80;
const DRAGGERS = 16;
const COLUMNS_OF_BOARD = 64;

/*
 * The kanban app's shapes: its column names, a wide card with six indexes, an activity line after each change. See
 * README.md for where they come from.
 */
const KANBAN = [
  `CREATE TABLE task(
    id TEXT PRIMARY KEY, title TEXT NOT NULL, description TEXT, ticket TEXT, memberId TEXT, requesterId TEXT,
    startDate TEXT, dueDate TEXT, effort INTEGER, priority TEXT, priorityId INTEGER, columnId TEXT NOT NULL,
    boardId TEXT NOT NULL, preColumnId TEXT, preBoardId TEXT, position INTEGER NOT NULL, sprintId TEXT,
    createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL, moves INTEGER NOT NULL DEFAULT 0)`,
  'CREATE INDEX task_column ON task(columnId, position)',
  'CREATE INDEX task_board ON task(boardId)',
  'CREATE INDEX task_member ON task(memberId)',
  'CREATE INDEX task_priority ON task(priorityId)',
  'CREATE INDEX task_sprint ON task(sprintId)',
  'CREATE INDEX task_updated ON task(updatedAt)',
  'CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT NOT NULL)',
  'CREATE TABLE comment(id TEXT PRIMARY KEY, taskId TEXT NOT NULL, text TEXT NOT NULL, authorId TEXT, createdAt TEXT)',
  'CREATE INDEX comment_task ON comment(taskId)',
  'CREATE TABLE attachment(id TEXT PRIMARY KEY, commentId TEXT, name TEXT, url TEXT, type TEXT, size INTEGER)',
  `CREATE TABLE activity(
    id INTEGER PRIMARY KEY, userId TEXT, roleId INTEGER, action TEXT NOT NULL, taskId TEXT, columnId TEXT,
    boardId TEXT, tagId INTEGER, details TEXT, createdAt TEXT)`,
  'CREATE INDEX activity_task ON activity(taskId)',
];
const KANBAN_SCHEMA = {
  sqlite: KANBAN,
  postgres: KANBAN.map(sql => sql.replace('INTEGER PRIMARY KEY', 'BIGSERIAL PRIMARY KEY')),
};

const INSERT_TASK = `INSERT INTO task(id, title, description, ticket, memberId, requesterId, startDate, dueDate, effort,
  priority, priorityId, columnId, boardId, position, sprintId, createdAt, updatedAt)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
/** Bounded, so that a faster system does not have longer columns to shift. */
const SHIFT_COLUMN = 'UPDATE task SET position = position + 1 WHERE columnId = ? AND position < 20';
/** Write 1 of the workload; `moves` counts what was applied, for the check. */
export const MOVE_TASK = `UPDATE task SET position = ?, columnId = ?, preBoardId = ?, preColumnId = ?, updatedAt = ?,
  moves = moves + 1 WHERE id = ?`;
const INSERT_ACTIVITY = `INSERT INTO activity(userId, roleId, action, taskId, columnId, boardId, tagId, details, createdAt)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const INSERT_COMMENT = 'INSERT INTO comment(id, taskId, text, authorId, createdAt) VALUES (?, ?, ?, ?, ?)';
const INSERT_ATTACHMENT =
  'INSERT INTO attachment(id, commentId, name, url, type, size) VALUES (?, ?, ?, ?, ?, ?)';
const READ_SETTING = 'SELECT value FROM setting WHERE name = ?';
const READ_TASK = 'SELECT id, title, columnId, position, updatedAt FROM task WHERE id = ?';

const AT = '2026-11-21T08:00:00.000Z';
const DESCRIPTION = '<p>As a user I want the card to keep its place when someone else moves another one.</p>';

/** Id of a seeded card. */
export function taskId(column: number, card: number): string {
  return `task-${column}-${card}`;
}

function insertTask(id: string, column: number, position: number): SqlStatement {
  const params = [
    ...[
      id,
      `Card ${id}`,
      DESCRIPTION,
      `T-${id}`,
      `member-${column % 7}`,
      `member-${column % 5}`,
      AT,
      AT,
      3,
      'high',
    ],
    ...[column % 4, `column-${column}`, 'board-1', position, `sprint-${column % 3}`, AT, AT],
  ];
  return { sql: INSERT_TASK, params };
}

const SEED_KANBAN: readonly SqlStatement[] = [
  { sql: 'INSERT INTO setting(name, value) VALUES (?, ?)', params: ['ticketPrefix', 'T'] },
  ...Array.from({ length: DRAGGERS * CARDS_PER_DRAG }, (_, index) => {
    const column = Math.floor(index / CARDS_PER_DRAG);
    return insertTask(taskId(column, index % CARDS_PER_DRAG), column, index % CARDS_PER_DRAG);
  }),
];

/** The statements of one drag: all cards of a column get their new places, in one transaction. */
export function dragStatements(column: number, turn: number): SqlStatement[] {
  return Array.from({ length: CARDS_PER_DRAG }, (_, card) => ({
    sql: MOVE_TASK,
    params: [
      (card + turn) % CARDS_PER_DRAG,
      `column-${column}`,
      'board-1',
      `column-${column}`,
      AT,
      taskId(column, card),
    ],
  }));
}

function activity(action: string, task: string): SqlStatement {
  const params = [
    'user-1',
    2,
    action,
    task,
    'column-1',
    'board-1',
    null,
    '{"from":"column-0","to":"column-1"}',
    AT,
  ];
  return { sql: INSERT_ACTIVITY, params };
}

const KANBAN_DRAG: Workload = {
  schema: KANBAN_SCHEMA,
  seed: SEED_KANBAN,
  perform: async (driver, tenant, caller) => {
    await driver.transaction(tenant, dragStatements(caller.index % DRAGGERS, caller.turn));
    return CARDS_PER_DRAG;
  },
  check: 'SELECT sum(moves) FROM task',
};

/** A setting is read, the card made at the top of its column, the activity written, the card read for the event. */
const KANBAN_CREATE: Workload = {
  schema: KANBAN_SCHEMA,
  seed: SEED_KANBAN,
  perform: async (driver, tenant, caller) => {
    await driver.read(tenant, READ_SETTING, ['ticketPrefix']);
    const id = `new-${caller.index}-${caller.turn}`;
    const column = DRAGGERS + ((caller.index + caller.turn * 7) % COLUMNS_OF_BOARD);
    const shift = { sql: SHIFT_COLUMN, params: [`column-${column}`] };
    await driver.transaction(tenant, [shift, insertTask(id, column, 0)]);
    const { sql, params } = activity('create-task', id);
    await driver.write(tenant, sql, params);
    if ((await driver.read(tenant, READ_TASK, [id])) === undefined)
      throw new Error(`Card ${id} is not there.`);
    return 2;
  },
  check: 'SELECT (SELECT count(*) FROM task) + (SELECT count(*) FROM activity)',
};

/** A comment with an attachment in one transaction, then the activity. */
const KANBAN_COMMENT: Workload = {
  schema: KANBAN_SCHEMA,
  seed: SEED_KANBAN,
  perform: async (driver, tenant, caller) => {
    const id = `comment-${caller.index}-${caller.turn}`;
    const task = taskId(caller.index % DRAGGERS, caller.turn % CARDS_PER_DRAG);
    await driver.transaction(tenant, [
      { sql: INSERT_COMMENT, params: [id, task, DESCRIPTION, 'member-1', AT] },
      { sql: INSERT_ATTACHMENT, params: [`a-${id}`, id, 'screen.png', `/files/${id}`, 'image/png', 48_213] },
    ]);
    const { sql, params } = activity('comment', task);
    await driver.write(tenant, sql, params);
    return 3;
  },
  check: `SELECT (SELECT count(*) FROM comment) + (SELECT count(*) FROM attachment)
    + (SELECT count(*) FROM activity)`,
};

/** All workloads, by name. */
export const WORKLOADS = {
  insert: insertOf(BODY),
  'update-anywhere': {
    schema: { sqlite: [ITEM_SQLITE.replace('TABLE', 'TABLE IF NOT EXISTS')], postgres: [] },
    perform: (driver, tenant, caller) =>
      driver.write(tenant, UPDATE_ANYWHERE, [caller.turn, Math.floor(caller.random() * 2 ** 31)]),
    check: COUNT_ITEMS,
  },
  'insert-indexed': INSERT_INDEXED,
  'insert-1k': insertOf('x'.repeat(1_024)),
  'insert-64k': insertOf('x'.repeat(64 * 1_024)),
  read: {
    schema: ITEM_SCHEMA,
    seed: SEED_ITEMS,
    perform: async (driver, tenant, caller) => {
      await readItem(driver, tenant, caller);
      return 0;
    },
    check: COUNT_ITEMS,
  },
  mixed: {
    schema: ITEM_SCHEMA,
    seed: SEED_ITEMS,
    perform: async (driver, tenant, caller) => {
      if (caller.random() >= 0.1) {
        await readItem(driver, tenant, caller);
        return 0;
      }
      return driver.write(tenant, INSERT_ITEM, [caller.index, `item ${caller.turn}`, BODY]);
    },
    check: COUNT_ITEMS,
  },
  'kanban-drag': KANBAN_DRAG,
  'kanban-create': KANBAN_CREATE,
  'kanban-comment': KANBAN_COMMENT,
} as const satisfies Record<string, Workload>;

/** Name of a workload. */
export type WorkloadName = keyof typeof WORKLOADS;
