import type { Random } from '@onewriter/testkit';
import type { Way } from './journal.ts';

/*
 * What clients write. Every operation that is applied leaves rows in the tenant's `log`, which carry who wrote them:
 * tenant, client, the client's own number `n`, and `part` where an operation has several rows. Nothing in the table
 * forbids a row twice, a row of another tenant or a row out of order: that is the oracle's to find.
 *
 *   append    one or more rows at the end of the log, by a statement, a transaction or a script
 *   enqueue   a row, sent without waiting for its commit
 *   heavy     a row that takes the writer a millisecond or so, so that a few clients are more than it can do
 *   keyed     a row with an idempotency key, which is sent again until its outcome is known
 *   bad       a write that must fail, in the spellings that are hard for a writer that shares transactions
 *   transfer  money from one account to another and a row in the log; fails where there is not enough
 *   register  sets a register, counts its version, and a row in the log
 *   steps     rows between BEGIN and COMMIT, in one request of steps
 *   open      the same over several requests: a transaction that stays open between them
 */

/** One write of a client. */
export type Operation =
  | { readonly kind: 'append'; readonly parts: number; readonly by: 'run' | 'transaction' | 'script' }
  | { readonly kind: 'enqueue' }
  | { readonly kind: 'heavy' }
  | { readonly kind: 'keyed'; readonly key: string }
  | { readonly kind: 'bad'; readonly how: BadKind }
  | {
      readonly kind: 'transfer';
      readonly from: number;
      readonly to: number;
      readonly amount: number;
      /** What refuses it where there is not enough: the account's CHECK, or an expectation (which HTTP callers lack). */
      readonly guard: 'check' | 'expect';
    }
  | { readonly kind: 'register'; readonly register: number }
  | { readonly kind: 'steps' | 'open'; readonly parts: number; readonly thinkMs: number };

/** How a write that must fail fails. */
export type BadKind = 'abort' | 'fail' | 'rollback' | 'raise' | 'deferred' | 'syntax' | 'second';

export const BAD_KINDS: readonly BadKind[] = [
  'abort',
  'fail',
  'rollback',
  'raise',
  'deferred',
  'syntax',
  'second',
];

/** Those that end or break the transaction that a write shares with others. */
export const SPOILERS: readonly BadKind[] = ['rollback', 'raise', 'deferred'];

const HARMLESS = BAD_KINDS.filter(how => !SPOILERS.includes(how));
const WITHOUT_DEFERRED = BAD_KINDS.filter(how => how !== 'deferred');

/** Whether a tenant has a foreign key that is checked at COMMIT: then each of its writes is a transaction of its own. */
const defersKeys = (tenant: string) => /[159]$/.test(tenant);

/** Accounts of a tenant, with {@link INITIAL_BALANCE} each. */
export const ACCOUNTS = 8;
export const INITIAL_BALANCE = 1_000;
/** Registers of a tenant. */
export const REGISTERS = 4;

/** A tenant's tables and accounts, as one script. */
export function schemaOf(tenant: string): string {
  return defersKeys(tenant) ? SCHEMA : SCHEMA.replace(' DEFERRABLE INITIALLY DEFERRED', '');
}

const SCHEMA = `
CREATE TABLE log(
  pos INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL, client TEXT NOT NULL, n INTEGER NOT NULL, part INTEGER NOT NULL, kind TEXT NOT NULL,
  source INTEGER REFERENCES accounts(id), target INTEGER REFERENCES accounts(id), amount INTEGER,
  register INTEGER REFERENCES registers(id),
  never INTEGER CHECK (never IS NULL),
  later INTEGER REFERENCES accounts(id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX log_by_write ON log(client, n);
CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
CREATE TABLE registers(id INTEGER PRIMARY KEY, client TEXT, n INTEGER, version INTEGER NOT NULL DEFAULT 0);
CREATE TRIGGER log_raise BEFORE INSERT ON log WHEN new.kind = 'raise'
BEGIN
  SELECT RAISE(ROLLBACK, 'raised');
END;
${Array.from({ length: ACCOUNTS }, (_, id) => `INSERT INTO accounts VALUES (${id}, ${INITIAL_BALANCE});`).join('\n')}
${Array.from({ length: REGISTERS }, (_, id) => `INSERT INTO registers(id) VALUES (${id});`).join('\n')}
`;

/** Shares of the kinds of operations. */
export type Mix = Readonly<Record<Operation['kind'], number>>;

/** Mostly plain appends, some of everything. */
export const USUAL_MIX: Mix = {
  append: 50,
  enqueue: 8,
  heavy: 0,
  keyed: 8,
  bad: 6,
  transfer: 14,
  register: 14,
  steps: 0,
  open: 0,
};

/** The next operation of a client. */
export function drawOperation(
  random: Random,
  mix: Mix,
  tenant: string,
  client: string,
  n: number,
  via: Way,
): Operation {
  const kind = random.weighted(mix);
  switch (kind) {
    case 'append': {
      const by = random.weighted({ run: 8, transaction: 1, script: 1 });
      return { kind, by, parts: by === 'run' ? 1 : random.between(2, 4) };
    }
    case 'enqueue':
    case 'heavy':
      return { kind };
    case 'keyed':
      return { kind, key: `${client}-${n}` };
    case 'bad':
      // Half of the tenants are spared: their commit_seq can be checked without exceptions.
      if (/[02468]$/.test(tenant)) return { kind, how: random.pick(HARMLESS) };
      return { kind, how: random.pick(defersKeys(tenant) ? BAD_KINDS : WITHOUT_DEFERRED) };
    case 'transfer': {
      const from = random.integer(ACCOUNTS);
      const to = (from + 1 + random.integer(ACCOUNTS - 1)) % ACCOUNTS;
      const guard = random.oneIn(2) || via === 'gateway' ? 'check' : 'expect';
      return { kind, from, to, amount: random.between(1, 300), guard };
    }
    case 'register':
      return { kind, register: random.integer(REGISTERS) };
    case 'steps':
    case 'open':
      // Over HTTP there are none; steps may take several commits, which spares no tenant's commit_seq.
      if (via === 'gateway' || (kind === 'steps' && /[02468]$/.test(tenant)))
        return { kind: 'append', by: 'run', parts: 1 };
      return { kind, parts: random.between(2, 4), thinkMs: random.oneIn(6) ? random.between(10, 400) : 0 };
  }
}

/** Rows that the operation leaves in the log if it is applied. */
export function rowsOf(operation: Operation): number {
  if (operation.kind === 'bad') return 0;
  return 'parts' in operation ? operation.parts : 1;
}

/** A statement as both ways in, SDK and gateway, take it. */
export interface OperationStatement {
  readonly sql: string;
  readonly params: readonly (string | number | null)[];
  readonly expect?: { readonly changes: number } | undefined;
}

const APPEND = 'INSERT INTO log(tenant, client, n, part, kind) VALUES (?, ?, ?, ?, ?)';

const HEAVY_APPEND = `INSERT INTO log(tenant, client, n, part, kind)
  SELECT ?, ?, ?, 0, 'heavy' FROM (
    WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 6000) SELECT max(x) FROM c)`;

/** The statements of an operation; more than one are a transaction. `append` by script is {@link scriptOf}. */
export function statementsOf(
  operation: Operation,
  tenant: string,
  client: string,
  n: number,
): readonly OperationStatement[] {
  const row = [tenant, client, n] as const;
  switch (operation.kind) {
    case 'append':
    case 'steps':
    case 'open':
      return Array.from({ length: operation.parts }, (_, part) => ({
        sql: APPEND,
        params: [...row, part, operation.kind],
      }));
    case 'enqueue':
    case 'keyed':
      return [{ sql: APPEND, params: [...row, 0, operation.kind] }];
    case 'heavy':
      return [{ sql: HEAVY_APPEND, params: [...row] }];
    case 'bad':
      return badStatements(operation.how, row);
    case 'transfer': {
      const { from, to, amount } = operation;
      return [
        {
          sql: `UPDATE accounts SET balance = balance - ? WHERE id = ?${operation.guard === 'expect' ? ' AND balance >= ?' : ''}`,
          params: operation.guard === 'expect' ? [amount, from, amount] : [amount, from],
          expect: { changes: 1 },
        },
        {
          sql: 'UPDATE accounts SET balance = balance + ? WHERE id = ?',
          params: [amount, to],
          expect: { changes: 1 },
        },
        {
          sql: 'INSERT INTO log(tenant, client, n, part, kind, source, target, amount) VALUES (?, ?, ?, 0, ?, ?, ?, ?)',
          params: [...row, 'transfer', from, to, amount],
        },
      ];
    }
    case 'register':
      return [
        {
          sql: 'UPDATE registers SET client = ?, n = ?, version = version + 1 WHERE id = ?',
          params: [client, n, operation.register],
          expect: { changes: 1 },
        },
        {
          sql: 'INSERT INTO log(tenant, client, n, part, kind, register) VALUES (?, ?, ?, 0, ?, ?)',
          params: [...row, 'register', operation.register],
        },
      ];
  }
}

/** Each leaves a row behind if a writer does not take it back. */
function badStatements(
  how: BadKind,
  row: readonly [tenant: string, client: string, n: number],
): readonly OperationStatement[] {
  const two = (conflict: string) =>
    `INSERT ${conflict} INTO log(tenant, client, n, part, kind, never) VALUES (?, ?, ?, 0, 'bad', NULL), (?, ?, ?, 1, 'bad', 1)`;
  switch (how) {
    case 'abort':
      return [{ sql: two(''), params: [...row, ...row] }];
    case 'fail':
      // OR FAIL keeps the rows before the one that fails, so that is the first.
      return [
        {
          sql: two('OR FAIL').replace("'bad', NULL", "'bad', 1").replace("1, 'bad', 1)", "1, 'bad', NULL)"),
          params: [...row, ...row],
        },
      ];
    case 'rollback':
      return [{ sql: two('OR ROLLBACK'), params: [...row, ...row] }];
    case 'raise':
      return [
        {
          sql: "INSERT INTO log(tenant, client, n, part, kind) VALUES (?, ?, ?, 0, 'bad'), (?, ?, ?, 1, 'raise')",
          params: [...row, ...row],
        },
      ];
    case 'deferred':
      return [
        {
          sql: "INSERT INTO log(tenant, client, n, part, kind, later) VALUES (?, ?, ?, 0, 'bad', 999)",
          params: row,
        },
      ];
    case 'syntax':
      return [{ sql: 'INSERT INTO log(tenant, client, n, part, kindd) VALUES (?, ?, ?, 0, 0)', params: row }];
    case 'second':
      return [
        { sql: APPEND, params: [...row, 0, 'bad'] },
        { sql: 'INSERT INTO nowhere VALUES (?)', params: [1] },
      ];
  }
}

/** An `append` as a script. */
export function scriptOf(parts: number, tenant: string, client: string, n: number): string {
  return Array.from(
    { length: parts },
    (_, part) =>
      `INSERT INTO log(tenant, client, n, part, kind) VALUES ('${tenant}', '${client}', ${n}, ${part}, 'append'); -- ';'`,
  ).join('\n');
}
