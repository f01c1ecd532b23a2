import { OnewriterError, type SqlValue } from '@onewriter/protocol';
import { OWN_TABLES, type ProbedTable } from '@onewriter/runtime/inspect';
import { jsonElements, jsonResponse } from '../../http/json-response.ts';
import { readMinCommitSeq } from '../../http/request-headers.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { type Api, addRoute } from './api.ts';
import { type ProbedColumns, probeTables } from './probe-tables.ts';
import { createRoute, FAILURE, json, SECURED, TenantParam, z } from './schemas.ts';
import { isStrict, typesOf } from './table-kind.ts';

/** Error of a table, index or trigger. */
const ObjectError = z.string().nullable().openapi({
  description:
    "Why SQLite cannot use it here, in SQLite's words (no such table, module, function or collation); null where it can.",
});
const Described = z.boolean().openapi({
  description:
    'false: looking at it took too long, as "error" says; what belongs to it was not looked at either.',
});
const Column = z
  .object({
    name: z.string(),
    type: z.string(),
    notNull: z.boolean(),
    default: z.string().nullable().openapi({ description: 'The expression, as it was written.' }),
    primaryKey: z.int().openapi({ description: 'Its place in the primary key, from 1; 0 for none.' }),
    hidden: z.boolean(),
    generated: z.boolean(),
  })
  .openapi('Column');
const ForeignKey = z
  .object({
    columns: z.array(z.string()),
    table: z.string(),
    references: z.array(z.string().nullable()),
    onUpdate: z.string(),
    onDelete: z.string(),
  })
  .openapi('ForeignKey');
const Index = z
  .object({
    name: z.string(),
    unique: z.boolean(),
    partial: z.boolean(),
    origin: z.enum(['c', 'u', 'pk']),
    columns: z.array(z.string().nullable()).openapi({ description: 'null stands for an expression.' }),
    sql: z.string().nullable(),
    error: ObjectError,
  })
  .openapi('Index');
const Trigger = z
  .object({ name: z.string(), table: z.string(), sql: z.string(), error: ObjectError })
  .openapi('Trigger');
const Table = z
  .object({
    name: z.string(),
    type: z.enum(['table', 'view', 'virtual', 'shadow']),
    strict: z.boolean(),
    withoutRowid: z.boolean(),
    sql: z.string().nullable(),
    error: ObjectError,
    described: Described,
    columns: z.array(Column).openapi({ description: 'Empty where SQLite does not know them: see "error".' }),
    foreignKeys: z.array(ForeignKey),
    indexes: z.array(Index),
  })
  .openapi('Table');
const Schema = z
  .object({
    schemaVersion: z.int().openapi({ description: 'Rises with every change of the schema.' }),
    userVersion: z.int(),
    commitSeq: z.int().nullable(),
    tables: z.array(Table),
    triggers: z.array(Trigger),
  })
  .openapi('Schema');

const route = createRoute({
  method: 'get',
  path: '/v1/tenants/{tenant}/schema',
  operationId: 'schema',
  summary: 'Tables, columns, keys, indexes and triggers',
  description:
    'What SQLite cannot use here (a view of a dropped table, an unknown module) is listed with its error. What takes SQLite ' +
    'too long, such as views of views of views, is listed without columns.',
  security: SECURED,
  request: { params: TenantParam },
  responses: { 200: json('The schema.', Schema), ...FAILURE },
});

/** As sqlite_schema has them: PRAGMA table_list would compile all views, which may take any time. */
const TABLES = `(SELECT 'main' AS schema, * FROM sqlite_schema WHERE type IN ('table', 'view')) l`;
const OWN_REAL_TABLES = `${OWN_TABLES} AND l.type = 'table' AND l.rootpage > 0`;

/**
 * All on one state of the database. None of them needs what a schema may name and SQLite not have: columns of views and of
 * virtual tables are asked for one by one.
 */
const STATEMENTS = [
  'SELECT schema_version, user_version FROM pragma_schema_version, pragma_user_version',
  // Only the key of a table without row ids has the table's own name. Source: sqlite.org/pragma.html#pragma_index_info
  `SELECT l.name, l.type, l.rootpage > 0, l.sql,
     CASE WHEN l.rootpage > 0 THEN EXISTS (SELECT 1 FROM pragma_index_info(l.name)) ELSE 0 END
   FROM ${TABLES} WHERE ${OWN_TABLES} ORDER BY l.name`,
  `SELECT l.name, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
   FROM ${TABLES}, pragma_table_xinfo(l.name) c WHERE ${OWN_REAL_TABLES} ORDER BY l.name, c.cid`,
  `SELECT l.name, f.id, f."table", f."from", f."to", f.on_update, f.on_delete
   FROM ${TABLES}, pragma_foreign_key_list(l.name) f WHERE ${OWN_REAL_TABLES} ORDER BY l.name, f.id, f.seq`,
  `SELECT l.name, i.name, i."unique", i.partial, i.origin, x.name, m.sql, m.name IS NOT NULL
   FROM ${TABLES}, pragma_index_list(l.name) i, pragma_index_info(i.name) x
   LEFT JOIN sqlite_schema m ON m.name = i.name AND m.type = 'index'
   WHERE ${OWN_REAL_TABLES} ORDER BY l.name, i.name, x.seqno`,
  `SELECT l.name, l.tbl_name, l.sql FROM (SELECT 'main' AS schema, * FROM sqlite_schema WHERE type = 'trigger') l
   WHERE ${OWN_TABLES} ORDER BY l.name`,
].map(sql => ({ sql }));

/** Times that a schema is read when it changes meanwhile. */
const MAX_TRIES = 3;

/** `GET /v1/tenants/{tenant}/schema` */
export function addSchemaRoute(api: Api): void {
  const { options } = api;
  addRoute(api, route, api.guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'read');
    const nextTurn = () => api.guards.turns.next(tenant);
    c.set('nextTurn', nextTurn);
    const wait = { timeoutMs: options.readTimeoutMs, signal: c.req.raw.signal };
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      const { results, commitSeq } = await options.reads.read({
        tenant,
        statements: STATEMENTS,
        minCommitSeq: readMinCommitSeq(c),
        ...wait,
      });
      const rows = withTypes(results.map(result => result.rows));
      const tables = toProbedTables(rows);
      const withoutColumns = new Set(
        tables.filter(({ type }) => type === 'view' || type === 'virtual').map(({ name }) => name),
      );
      const schemaVersion = Number(rows[0]![0]![0]);
      const probed = await probeTables(options.hrana.reads, tables, {
        tenant,
        withoutColumns,
        schemaVersion,
        ...wait,
      });
      if (probed === undefined) continue;
      const { tables: described, triggers, ...head } = toSchema(rows, probed, commitSeq);
      const start = `${JSON.stringify(head).slice(0, -1)},"tables":[`;
      const parts = [
        ...(await jsonElements(described, nextTurn)),
        Buffer.from('],"triggers":['),
        ...(await jsonElements(triggers, nextTurn)),
      ];
      return jsonResponse(c, start, parts, ']}');
    }
    throw new OnewriterError('DATABASE_BUSY', 'The schema changed each time that it was read; try again.', {
      tenant,
    });
  });
}

/** Results of {@link STATEMENTS}; of tables: name, type, strict, without row ids, SQL. */
type SchemaRows = readonly SqlValue[][][];

function withTypes([versions, tables, ...others]: SchemaRows): SchemaRows {
  const types = typesOf(
    tables!.map(([name, type, hasPages, sql]) => ({
      name: String(name),
      type: type === 'view' ? 'view' : 'table',
      sql: String(sql),
      hasPages: hasPages === 1,
    })),
  );
  const typed = tables!.map(([name, , , sql, withoutRowid], position): SqlValue[] => {
    const type = types[position]!;
    const strict = (type === 'table' || type === 'shadow') && isStrict(String(sql)) ? 1 : 0;
    return [name!, type, strict, withoutRowid!, sql!];
  });
  return [versions!, typed, ...others];
}

function toProbedTables([, tables, columns, foreignKeys, indexes, triggers]: SchemaRows): ProbedTable[] {
  const columnsOf = groupBy(columns!);
  const foreignKeysOf = groupBy(foreignKeys!);
  const indexesOf = groupBy(indexes!);
  return tables!.map(([name, type]) => ({
    name: String(name),
    type: String(type),
    column: textOrNull(columnsOf.get(name)?.find(([, , , , , hidden]) => hidden === 0)?.[0]) ?? undefined,
    parents: (foreignKeysOf.get(name) ?? []).map(([, parent]) => String(parent)),
    // The key of a table without row ids is no index of its own.
    indexes: [
      ...new Set(
        (indexesOf.get(name) ?? [])
          .filter(([, , , , , , isIndex]) => isIndex === 1)
          .map(([index]) => String(index)),
      ),
    ],
    triggers: triggers!
      .filter(([, table]) => sameName(table, name))
      .map(([trigger, , sql]) => ({ name: String(trigger), sql: String(sql) })),
  }));
}

/** A trigger names its table as it was written. */
function sameName(a: SqlValue | undefined, b: SqlValue | undefined): boolean {
  return String(a).toLowerCase() === String(b).toLowerCase();
}

function toSchema(
  [versions, tables, columns, foreignKeys, indexes, triggers]: SchemaRows,
  probed: readonly ProbedColumns[],
  commitSeq: number | undefined,
): z.output<typeof Schema> {
  const [schemaVersion, userVersion] = versions![0]!;
  const columnsOf = groupBy(columns!);
  const foreignKeysOf = groupBy(foreignKeys!);
  const indexesOf = groupBy(indexes!);
  const triggerErrors = new Map(probed.flatMap(({ triggers: errors }) => [...errors]));
  return {
    schemaVersion: Number(schemaVersion),
    userVersion: Number(userVersion),
    commitSeq: commitSeq ?? null,
    tables: tables!.map(([name, type, strict, withoutRowid, sql], position) => {
      const found = probed[position]!;
      return {
        name: String(name),
        type: String(type) as 'table',
        strict: strict === 1,
        withoutRowid: withoutRowid === 1,
        sql: textOrNull(sql),
        error: found.error ?? null,
        described: !found.stopped,
        columns: (found.columns ?? columnsOf.get(name) ?? []).map(toColumn),
        foreignKeys: toForeignKeys(foreignKeysOf.get(name) ?? []),
        indexes: toIndexes(indexesOf.get(name) ?? [], found.indexes),
      };
    }),
    triggers: triggers!.map(([name, table, sql]) => ({
      name: String(name),
      table: String(table),
      sql: String(sql),
      error: triggerErrors.get(String(name)) ?? null,
    })),
  };
}

/** Rows by their first value, without it. */
function groupBy(rows: readonly SqlValue[][]): Map<SqlValue | undefined, SqlValue[][]> {
  const groups = new Map<SqlValue | undefined, SqlValue[][]>();
  for (const [key, ...rest] of rows) {
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [rest]);
    else group.push(rest);
  }
  return groups;
}

function toColumn([name, type, notNullValue, fallback, primaryKey, hiddenValue]: SqlValue[]): z.output<
  typeof Column
> {
  const notNull = Number(notNullValue);
  const hidden = Number(hiddenValue);
  return {
    name: String(name),
    type: String(type),
    notNull: notNull === 1,
    default: textOrNull(fallback),
    primaryKey: Number(primaryKey),
    hidden: hidden === 1,
    // Source: sqlite.org/pragma.html#pragma_table_xinfo: 2 is a virtual, 3 a stored generated column.
    generated: hidden === 2 || hidden === 3,
  };
}

function toForeignKeys(rows: readonly SqlValue[][]): z.output<typeof ForeignKey>[] {
  const keys = new Map<SqlValue | undefined, z.output<typeof ForeignKey>>();
  for (const [id, table, from, to, onUpdate, onDelete] of rows) {
    let key = keys.get(id);
    if (key === undefined) {
      key = {
        columns: [],
        table: String(table),
        references: [],
        onUpdate: String(onUpdate),
        onDelete: String(onDelete),
      };
      keys.set(id, key);
    }
    key.columns.push(String(from));
    key.references.push(textOrNull(to));
  }
  return [...keys.values()];
}

function toIndexes(
  rows: readonly SqlValue[][],
  errors: ReadonlyMap<string, string>,
): z.output<typeof Index>[] {
  const indexes = new Map<SqlValue | undefined, z.output<typeof Index>>();
  for (const [name, unique, partial, origin, column, sql] of rows) {
    let index = indexes.get(name);
    if (index === undefined) {
      index = {
        name: String(name),
        unique: unique === 1,
        partial: partial === 1,
        origin: String(origin) as 'c',
        columns: [],
        sql: textOrNull(sql),
        error: errors.get(String(name)) ?? null,
      };
      indexes.set(name, index);
    }
    index.columns.push(textOrNull(column));
  }
  return [...indexes.values()];
}

function textOrNull(value: SqlValue | undefined): string | null {
  return typeof value === 'string' ? value : null;
}
