import { NEWEST_COMMIT_SEQ_SQL } from '@onewriter/protocol';
import type { OperationStatement } from '../operation.ts';
import { ACCOUNTS, type Change, INITIAL_BALANCE, REGISTERS, UNWRITTEN, type Whole } from './history.ts';

/*
 * The tables of a tenant in SQL. All lists lie in one table, whose order is the order of all writes; each element also says how
 * many its list had before it, which its own statement counts.
 */

/** A tenant's tables, and the one that a rig writes to. @param born names the creation */
export function createScript(born: string): string {
  return `
CREATE TABLE life(born TEXT NOT NULL);
CREATE TABLE elements(pos INTEGER PRIMARY KEY, list TEXT NOT NULL, place INTEGER NOT NULL, value TEXT NOT NULL);
CREATE INDEX elements_by_list ON elements(list);
CREATE TABLE registers(id INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
CREATE TABLE probe(at REAL);
INSERT INTO life VALUES ('${born}');
${Array.from({ length: REGISTERS }, (_, id) => `INSERT INTO registers VALUES (${id}, '${UNWRITTEN}');`).join('\n')}
${Array.from({ length: ACCOUNTS }, (_, id) => `INSERT INTO accounts VALUES (${id}, ${INITIAL_BALANCE});`).join('\n')}
`;
}

/** One row with one column: {@link Whole} as JSON. */
export const WHOLE_SQL = `SELECT json_object(
  'born', (SELECT born FROM life),
  'restored', (SELECT job_id FROM sqlite_onewriter_ledger WHERE job_id LIKE 'restore-%' ORDER BY id DESC LIMIT 1),
  'seq', (${NEWEST_COMMIT_SEQ_SQL}),
  'log', (SELECT json_group_array(text) FROM (
    SELECT list || ' ' || place || ' ' || value AS text FROM elements ORDER BY pos)),
  'registers', (SELECT json_group_array(value) FROM (SELECT value FROM registers ORDER BY id)),
  'balances', (SELECT json_group_array(balance) FROM (SELECT balance FROM accounts ORDER BY id))) AS state`;

/** What {@link WHOLE_SQL} answered. */
export function parseWhole(text: unknown): Whole {
  if (typeof text !== 'string') throw new TypeError(`Not a state of a tenant: ${String(text)}`);
  const { born, restored, ...rest } = JSON.parse(text) as Whole & {
    readonly born: string | null;
    readonly restored: string | null;
  };
  const incarnation = restored === null ? `${born}` : `${born}/${restored}`;
  return { ...rest, incarnation };
}

export const LIST_SQL = 'SELECT value FROM elements WHERE list = ? ORDER BY pos';
export const REGISTER_SQL = 'SELECT value FROM registers WHERE id = ?';
export const BALANCES_SQL = 'SELECT balance FROM accounts ORDER BY id';

const APPEND = 'INSERT INTO elements(list, place, value) SELECT ?, count(*), ? FROM elements WHERE list = ?';
const APPEND_IF_SET =
  'INSERT INTO elements(list, place, value) SELECT ?, count(*), ? FROM elements WHERE list = ? HAVING EXISTS (SELECT 1 FROM registers WHERE id = ? AND value = ?)';
const SET = 'UPDATE registers SET value = ? WHERE id = ?';
const SET_IF = 'UPDATE registers SET value = ? WHERE id = ? AND value = ?';

/**
 * The statements of a change.
 * @param expected of a compare-and-set: the value that the one register that it sets must have, or nothing changes
 */
export function statementsOfChange(
  { appends, sets = [], transfer }: Change,
  expected?: string | undefined,
): readonly OperationStatement[] {
  const [set] = sets;
  if (expected !== undefined && set !== undefined) {
    return [
      { sql: SET_IF, params: [set.value, set.register, expected] },
      ...appends.map(({ list, value }) => ({
        sql: APPEND_IF_SET,
        params: [list, value, list, set.register, set.value],
      })),
    ];
  }
  return [
    ...sets.map(({ register, value }) => ({ sql: SET, params: [value, register] })),
    ...(transfer === undefined
      ? []
      : [
          {
            sql: 'UPDATE accounts SET balance = balance - ? WHERE id = ?',
            params: [transfer.amount, transfer.from],
          },
          {
            sql: 'UPDATE accounts SET balance = balance + ? WHERE id = ?',
            params: [transfer.amount, transfer.to],
          },
        ]),
    ...appends.map(({ list, value }) => ({ sql: APPEND, params: [list, value, list] })),
  ];
}
