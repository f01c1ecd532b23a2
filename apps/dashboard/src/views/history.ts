import type { HistoryPoint } from '@onewriter/protocol';
import { type Html, html, NOTHING } from './html.ts';
import { type Notice, noticeBox } from './notice.ts';
import { MAX_SHOWN_ROWS, type SqlOutcome, sqlResult } from './sql-result.ts';
import { pointTable, timeLine } from './time-line.ts';

/** What the page of a tenant's history shows. */
export interface HistoryView {
  readonly tenant: string;
  readonly now: number;
  /** The newest first; or why there are none. */
  readonly points: readonly HistoryPoint[] | Notice;
  /** What is in the forms. */
  readonly at: string;
  readonly sql: string;
  readonly outcome?: SqlOutcome | undefined;
  readonly notice?: Notice | undefined;
}

/** A tenant's history: to look at a point, and to go back to it. */
export function historyPage(view: HistoryView): Html {
  const { tenant, notice, points } = view;
  return html`${notice === undefined ? NOTHING : noticeBox(notice)}
    <div class="tenant-head"><h1>History of ${tenant}</h1>
      <div class="actions"><a class="button" href="/tenants/${tenant}">The tenant now</a></div></div>
    ${'tone' in points ? noticeBox(points) : withPoints(view, points)}`;
}

function withPoints({ tenant, now, at, sql, outcome }: HistoryView, points: readonly HistoryPoint[]): Html {
  const chosen = at === '' ? String(points[0]!.toSeq) : at;
  const point = (id: string) => html`<label for="${id}">Point: a commit, a time, or “5 minutes ago”</label>
    <input id="${id}" name="at" value="${chosen}" maxlength="100" required autocomplete="off" data-point />`;
  return html`${timeLine(points, now)}
    ${pointTable(points)}
    <section class="card" aria-labelledby="sql-title" id="sql-box">
      <h2 id="sql-title">Look at it as of then</h2>
      <form id="sql-form" class="stack" method="post" action="/tenants/${tenant}/history/sql#sql-box">
        ${point('at-look')}
        <label for="sql">A statement that reads</label>
        <textarea class="code" id="sql" name="sql" rows="3" spellcheck="false" autocapitalize="none" required placeholder="SELECT * FROM …">${sql}</textarea>
        <div class="row">
          <button class="primary" id="sql-run">Run</button>
          <button type="button" id="sql-stop" hidden>Stop</button>
          <span class="hint">The first statement on a commit restores it to a temporary file, which is removed when it was not read for five minutes. ${MAX_SHOWN_ROWS} rows at most.</span>
        </div>
      </form>
      <div id="sql-results" class="results" aria-live="polite">${outcome === undefined ? NOTHING : sqlResult(outcome)}</div>
    </section>
    <div class="columns">
      <section class="card" aria-labelledby="as-title"><h2 id="as-title">Restore it beside</h2>
        <form class="stack" method="post" action="/tenants/${tenant}/history/restore">
          ${point('at-as')}
          <label for="as">Name of the new tenant</label>
          <input id="as" name="as" maxlength="63" required autocomplete="off" placeholder="${tenant}-then" />
          <div class="row"><button class="primary">Restore as a new tenant</button></div>
        </form>
      </section>
      <section class="card" aria-labelledby="replace-title"><h2 id="replace-title">Go back to it</h2>
        <p class="hint">It takes the place of the present file, which is kept. What was written since is not in it.</p>
        <form class="stack" method="post" action="/tenants/${tenant}/history/restore">
          ${point('at-replace')}
          <label for="confirm">To confirm, type the name of the tenant</label>
          <input id="confirm" name="confirm" maxlength="63" required autocomplete="off" pattern="${tenant}" title="${tenant}" />
          <div class="row"><button class="danger">Put it in the place of ${tenant}</button></div>
        </form>
      </section>
    </div>`;
}
