import { shownName, shownNames } from '@onewriter/protocol';
import type { TenantSchema } from '../dashboard-gateway.ts';
import { formatCount, plural } from './format.ts';
import { type Html, html, NOTHING } from './html.ts';
import { noticeBox } from './notice.ts';

type Table = TenantSchema['tables'][number];

/** Tables open at first: a small schema is seen at once. */
const MAX_OPEN_TABLES = 2;
/** A table with a longer name has no button for its rows: the page would have the name twice. */
const MAX_QUERIED_NAME = 1_000;
/** Characters of a statement that are shown. */
const MAX_SHOWN_SQL = 20_000;

function shownSql(sql: string): string {
  return sql.length <= MAX_SHOWN_SQL
    ? sql
    : `${sql.slice(0, MAX_SHOWN_SQL).toWellFormed()}… (${sql.length - MAX_SHOWN_SQL} more characters)`;
}

/** A tenant's tables, with columns, keys and indexes. @param schema or why it cannot be shown */
export function schemaSection(schema: TenantSchema | string): Html {
  if (typeof schema === 'string') {
    return html`<section class="card"><h2>Schema</h2>${noticeBox({ tone: 'warning', text: schema })}</section>`;
  }
  const { tables, triggers, schemaVersion, userVersion } = schema;
  const shown = tables.filter(({ type }) => type !== 'shadow');
  return html`<section class="card" aria-labelledby="schema-title">
    <h2 id="schema-title">Schema</h2>
    <p class="hint">${plural(shown.length, 'table')}, schema version ${formatCount(schemaVersion)}, user version ${formatCount(userVersion)}</p>
    ${shown.length === 0 ? html`<p class="empty">No tables yet: <code>npx onewriter sql … "CREATE TABLE …"</code></p>` : NOTHING}
    ${shown.map(table => tableDetails(table, shown.length <= MAX_OPEN_TABLES))}
    ${
      triggers.length === 0
        ? NOTHING
        : html`<h3>Triggers</h3>${triggers.map(
            trigger =>
              html`<details><summary>${shownName(trigger.name)} <span class="dim">on ${shownName(trigger.table)}</span></summary>${unusable(trigger.error)}<pre class="sql">${shownSql(trigger.sql)}</pre></details>`,
          )}`
    }
  </section>`;
}

function tableDetails(table: Table, open: boolean): Html {
  const { name, type, columns, indexes, foreignKeys, strict, withoutRowid, sql, error } = table;
  const described = table.described !== false;
  const traits = [
    described ? (error ? 'cannot be used' : '') : 'not described',
    type === 'table' ? '' : type,
    strict ? 'strict' : '',
    withoutRowid ? 'without rowid' : '',
  ].filter(trait => trait !== '');
  const quoted = `"${name.replaceAll('"', '""')}"`;
  return html`<details${open ? html` open` : NOTHING}>
    <summary>${shownName(name)} <span class="dim">${[plural(columns.length, 'column'), indexes.length === 0 ? 'no index' : plural(indexes.length, 'index', 'indexes'), ...traits].join(', ')}</span></summary>
    ${described ? unusable(error) : noticeBox({ tone: 'warning', text: error ?? '' })}
    <div class="scroll"><table>
      <thead><tr><th scope="col">Column</th><th scope="col">Type</th><th scope="col">Null</th><th scope="col">Default</th><th scope="col">Key</th></tr></thead>
      <tbody>${columns.map(
        column => html`<tr>
          <th scope="row"><code>${shownName(column.name)}</code></th>
          <td>${column.type === '' ? html`<span class="dim">any</span>` : shownName(column.type)}${column.generated ? ' (generated)' : ''}</td>
          <td>${column.notNull ? 'not null' : ''}</td>
          <td>${column.default === null ? NOTHING : html`<code>${shownName(column.default)}</code>`}</td>
          <td>${keyOf(table, column)}</td>
        </tr>`,
      )}</tbody>
    </table></div>
    ${
      indexes.length === 0
        ? NOTHING
        : html`<ul class="plain">${indexes.map(
            index => html`<li><strong>${shownName(index.name)}</strong>${index.unique ? ' unique' : ''}${index.partial ? ' partial' : ''} on
              <code>${shownNames(index.columns.map(column => column ?? '(expression)'))}</code>${unusable(index.error)}</li>`,
          )}</ul>`
    }
    ${
      foreignKeys.length === 0
        ? NOTHING
        : html`<ul class="plain">${foreignKeys.map(
            key =>
              html`<li><code>${shownNames(key.columns)}</code> refers to <code>${shownName(key.table)}(${shownNames(key.references.map(column => column ?? 'its key'))})</code>${key.onDelete === 'NO ACTION' ? '' : `, on delete ${key.onDelete.toLowerCase()}`}</li>`,
          )}</ul>`
    }
    ${sql === null ? NOTHING : html`<pre class="sql">${shownSql(sql)}</pre>`}
    ${quoted.length > MAX_QUERIED_NAME ? NOTHING : html`<p><button type="button" data-sql="SELECT * FROM ${quoted} LIMIT 50">Show rows</button></p>`}
  </details>`;
}

/** Why SQLite cannot use it here; all else of the schema can be. */
function unusable(error: string | null | undefined): Html {
  return error ? noticeBox({ tone: 'warning', text: `SQLite cannot use it here: ${error}` }) : NOTHING;
}

function keyOf({ columns, foreignKeys }: Table, column: Table['columns'][number]): string {
  const keys = columns.filter(({ primaryKey }) => primaryKey > 0).length;
  const primary =
    column.primaryKey === 0 ? '' : keys > 1 ? `primary (${column.primaryKey} of ${keys})` : 'primary';
  const foreign = foreignKeys.some(key => key.columns.includes(column.name)) ? 'foreign' : '';
  return [primary, foreign].filter(text => text !== '').join(', ');
}
