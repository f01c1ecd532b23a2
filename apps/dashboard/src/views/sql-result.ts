import type { WireValue } from '@onewriter/protocol';
import { shownName } from '@onewriter/protocol';
import type { QueryRows } from '../dashboard-gateway.ts';
import { formatBytes, formatMs, plural } from './format.ts';
import { type Html, html, NOTHING } from './html.ts';
import { type Notice, noticeBox } from './notice.ts';

/** Rows that are shown; a statement is stopped after them. */
export const MAX_SHOWN_ROWS = 500;
const MAX_SHOWN_CHARACTERS = 400;
/** Values that are shown: a page of 500 rows with 2,000 columns has 17 MB. */
const MAX_SHOWN_CELLS = 20_000;

/** What a statement came to. */
export type SqlOutcome =
  | { readonly rows: QueryRows; readonly tookMs: number; readonly notice?: undefined }
  | { readonly notice: Notice };

/** The rows as a table, or why there are none. */
export function sqlResult(outcome: SqlOutcome): Html {
  if (outcome.notice !== undefined) return noticeBox(outcome.notice);
  const { rows: found, tookMs } = outcome;
  const fitting = Math.max(1, Math.floor(MAX_SHOWN_CELLS / Math.max(1, found.columns.length)));
  const isCut = found.rows.length > fitting;
  const rows = { ...found, rows: found.rows.slice(0, fitting) };
  const first = `The first ${plural(rows.rows.length, 'row')}`;
  const count = isCut
    ? `${first}: this page shows ${MAX_SHOWN_CELLS} values at most`
    : rows.more
      ? `${first}; the statement was stopped there`
      : plural(rows.rows.length, 'row');
  return html`<p class="hint" role="status">${count}, in ${formatMs(tookMs)}</p>
    ${
      rows.columns.length === 0
        ? NOTHING
        : html`<div class="scroll" tabindex="0" aria-label="Rows"><table>
            <thead><tr>${rows.columns.map(
              (column, index) =>
                html`<th scope="col"${isNumeric(rows.rows, index) ? html` class="num"` : NOTHING}>${shownName(column)}</th>`,
            )}</tr></thead>
            <tbody>${rows.rows.map(row => html`<tr>${row.map(value => cell(value))}</tr>`)}</tbody>
          </table></div>`
    }`;
}

function cell(value: WireValue): Html {
  if (value === null) return html`<td class="null">NULL</td>`;
  if (typeof value === 'number') return html`<td class="num">${value}</td>`;
  if (typeof value === 'string') return html`<td>${shorten(value)}</td>`;
  if ('i' in value) return html`<td class="num">${value.i}</td>`;
  if ('f' in value) return html`<td class="num">${value.f}</td>`;
  const bytes = Buffer.from(value.b, 'base64');
  return html`<td class="null">blob, ${formatBytes(bytes.length)}: ${bytes.subarray(0, 16).toString('hex')}${bytes.length > 16 ? '…' : ''}</td>`;
}

function shorten(text: string): string {
  return text.length <= MAX_SHOWN_CHARACTERS
    ? text
    : `${text.slice(0, MAX_SHOWN_CHARACTERS)}… (${text.length - MAX_SHOWN_CHARACTERS} more characters)`;
}

/** A column of numbers has its name above them, at the right. */
function isNumeric(rows: QueryRows['rows'], index: number): boolean {
  const [first] = rows;
  const value = first?.[index];
  return typeof value === 'number' || (typeof value === 'object' && value !== null && !('b' in value));
}
