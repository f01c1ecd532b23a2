import type { BrokerStatus, StatusTenant } from '@onewriter/protocol';
import { describeStatement } from '@onewriter/protocol';
import type { Letter } from '@onewriter/runtime/dead-letters';
import { isPausedByPerson, MAX_REASON_LENGTH, type QueueFacts } from '@onewriter/tenants';
import type { TenantInfo } from '../dashboard-gateway.ts';
import type { LedgerFacts } from '../tenants/ledger-facts.ts';
import { MINUTES } from '../tenants/ledger-facts.ts';
import type { QueuedJob } from '../tenants/queued-jobs.ts';
import type { SizeColumns } from '../tenants/size-history.ts';
import {
  formatAge,
  formatAgo,
  formatBytes,
  formatCount,
  formatMs,
  formatShare,
  formatTime,
  plural,
} from './format.ts';
import { holderLine } from './holder.ts';
import { type Html, html, NOTHING } from './html.ts';
import { chip, icon } from './icon.ts';
import { type Notice, noticeBox } from './notice.ts';
import { openTransactions } from './overview.ts';
import { plot } from './plot.ts';
import { type Regions, region } from './regions.ts';
import { durabilityDialog, replicaLine } from './replica.ts';
import { MAX_SHOWN_ROWS, type SqlOutcome, sqlResult } from './sql-result.ts';
import { tenantState } from './tenant-list.ts';

/** All that is known of a tenant at a moment. */
export interface TenantView {
  readonly tenant: string;
  readonly now: number;
  readonly facts: QueueFacts;
  readonly jobs: readonly QueuedJob[];
  /** This tenant's letters among the newest of all tenants. */
  readonly letters: readonly Letter[];
  readonly status: BrokerStatus | undefined;
  readonly info: TenantInfo | undefined;
  readonly ledger: LedgerFacts | undefined;
  readonly sizes: SizeColumns;
  /** Why the gateway could not answer. */
  readonly gatewayProblem: string | undefined;
}

/** What is on the page besides what changes. */
export interface TenantPageOptions {
  readonly schema: Html;
  readonly sql: string;
  readonly outcome: SqlOutcome | undefined;
  readonly notice: Notice | undefined;
}

/** What to do about a parked tenant, by its code. */
const PARKED_REMEDIES: Readonly<Record<string, string>> = {
  DATABASE_CORRUPT:
    'The file is damaged. Pause the tenant, keep a copy of the file, and restore it from a backup (npx onewriter restore). Nothing was changed by the refusal.',
  DATABASE_FULL:
    'The disk is full, or the file has reached its page limit. Free space: the waiting writes then go through.',
  DATABASE_READONLY:
    'The file or its folder cannot be written: look at its owner, its mode and the mount (ls -l, mount).',
  DATABASE_BUSY: 'Another process holds the lock on the file: find it (lsof, fuser) and end its transaction.',
  DATABASE_IO_ERROR:
    'Reading or writing failed: look at the kernel’s log (dmesg) and the disk. The broker keeps trying.',
  STATEMENT_TIMEOUT:
    'Its statements ran past the deadline, or used too much memory, again and again. Its dead letters show the statement and its client; the waiting writes continue automatically.',
  TENANT_UNAVAILABLE: 'The file cannot be opened: look whether the folder is there and mounted.',
  UNSUPPORTED_VERSION:
    'An app or gateway with a newer SDK sent its oldest job: update the brokers. The job and all that came after it stay queued until then.',
};

/** The pieces that update live. */
export function tenantRegions(view: TenantView): Regions {
  return {
    head: head(view),
    replica: replicaLine(view.tenant, view.facts.durability, view.status, view.now),
    tiles: tiles(view),
    plots: plots(view),
    queue: queue(view),
    commits: commits(view),
    errors: errors(view),
    transactions: transactions(view),
  };
}

/** A tenant's page. */
export function tenantPage(view: TenantView, { schema, sql, outcome, notice }: TenantPageOptions): Html {
  const { tenant } = view;
  const regions = tenantRegions(view);
  return html`${notice === undefined ? NOTHING : noticeBox(notice)}
    ${region('head', regions)}
    ${region('replica', regions)}
    ${region('tiles', regions)}
    ${region('plots', regions, 'plots')}
    ${region('transactions', regions)}
    <section class="card" aria-labelledby="sql-title" id="sql-box">
      <h2 id="sql-title">Look into the file</h2>
      <form id="sql-form" method="post" action="/tenants/${tenant}/sql#sql-box">
        <label for="sql" class="hidden">A statement that reads</label>
        <textarea class="code" id="sql" name="sql" rows="3" spellcheck="false" autocapitalize="none" required placeholder="SELECT * FROM …">${sql}</textarea>
        <div class="row">
          <button class="primary" id="sql-run">Run</button>
          <button type="button" id="sql-stop" hidden>Stop</button>
          <span class="hint">One statement that reads; ${MAX_SHOWN_ROWS} rows at most; stopped after 10 s. <kbd>Ctrl</kbd> <kbd>Enter</kbd> runs it.</span>
        </div>
      </form>
      <div id="sql-results" class="results" aria-live="polite">${outcome === undefined ? NOTHING : sqlResult(outcome)}</div>
    </section>
    <div class="columns">
      ${region('queue', regions, 'card')}
      ${region('commits', regions, 'card')}
    </div>
    ${region('errors', regions)}
    ${schema}
    ${dialogs(tenant)}${durabilityDialog(tenant, view.facts.durability)}`;
}

function head({ tenant, facts, info, status, now }: TenantView): Html {
  const { holders, parked, durability } = facts;
  const hibernated = holders.length === 0 && parked === null ? (info?.hibernated ?? undefined) : undefined;
  return html`<div class="tenant-head">
      <h1>${tenant}</h1>
      ${hibernated === undefined ? tenantState(facts) : chip('info', info!.state)}
      <div class="actions" role="group" aria-label="Actions">
        ${
          isPausedByPerson(holders)
            ? html`<form method="post" action="/tenants/${tenant}/resume"><button class="primary">Resume</button></form>`
            : html`<button type="button" data-dialog="pause-dialog">Pause…</button>`
        }
        ${hibernation(tenant, info?.hibernated != null, status?.replica !== undefined && durability !== 'off')}
        <form method="post" action="/tenants/${tenant}/check"><button>Check the file</button></form>
        <form method="post" action="/tenants/${tenant}/backup"><button>Back up</button></form>
        <a class="button" href="/queues?tenant=${tenant}">Its queue</a>
      </div>
    </div>
    <p class="subline">${
      holders.length > 0
        ? html`${holders.map(holder => holderLine(holder, now)).join('; ')}. Its file is closed, new writes through the gateway are refused, others wait in the queue; reads continue.`
        : hibernated !== undefined
          ? `Its file (${formatBytes(hibernated.bytes)}) is in the replica only, for ${formatAge(now - Date.parse(hibernated.since))}. A read or a write brings it back.`
          : parked === null
            ? 'Its writes are applied.'
            : html`<strong>${parked.code}</strong>: ${parked.message}${parked.since === '' ? '' : ` For ${formatAge(now - Date.parse(parked.since))}.`}`
    }</p>
    ${parked === null ? NOTHING : html`<div class="notice critical">${icon('critical')}<div><p>${PARKED_REMEDIES[parked.code] ?? 'The broker tries again at most five seconds apart, and continues when it can.'}</p></div></div>`}`;
}

function hibernation(tenant: string, isAway: boolean, mayGo: boolean): Html {
  if (isAway) return html`<form method="post" action="/tenants/${tenant}/wake"><button>Wake</button></form>`;
  if (!mayGo) return NOTHING;
  return html`<form method="post" action="/tenants/${tenant}/hibernate"><button>Hibernate</button></form>`;
}

function tiles({ facts, info, status, tenant, now, gatewayProblem }: TenantView): Html {
  const row = findRow(status, tenant);
  const lastWrite = info?.lastWrite ?? null;
  const held = status?.wal.held.find(wal => wal.tenant === tenant);
  const tile = (name: string, value: string, hint: string | Html = '') =>
    html`<div class="tile"><dt>${name}</dt><dd>${value}<div class="hint">${hint}</div></dd></div>`;
  return html`${gatewayProblem === undefined ? NOTHING : noticeBox({ tone: 'warning', text: `What is in the file cannot be shown: ${gatewayProblem}` })}
    ${
      held === undefined
        ? NOTHING
        : noticeBox({
            tone: 'warning',
            text: `A reader keeps the write-ahead log from restarting: ${held.readers.map(({ pid, command }) => `process ${pid} ${command}`).join(', ') || 'it cannot be named from here'}. End its transaction.`,
          })
    }
    <dl class="tiles">
      ${tile('Writes per second', row === undefined ? '0' : formatCount(row.writesPerSecond), row === undefined ? 'none lately' : `${formatShare(row.busyShare)} of a thread`)}
      ${tile('Batch in the thread', row === undefined ? '–' : formatMs(row.meanBatchMs), row === undefined ? '' : `longest ${formatMs(row.maxBatchMs)}`)}
      ${tile('Jobs waiting', formatCount(facts.waitingJobs), `${formatCount(facts.activeJobs)} with the broker`)}
      ${tile('File', info?.bytes == null ? '–' : formatBytes(info.bytes), info?.walBytes == null ? '' : `and ${formatBytes(info.walBytes)} of log`)}
      ${tile('Commits', info?.commitSeq == null ? '–' : formatCount(info.commitSeq), lastWrite === null ? '' : `the last ${formatAgo(now - Date.parse(lastWrite))}`)}
    </dl>`;
}

function findRow(status: BrokerStatus | undefined, tenant: string): StatusTenant | undefined {
  if (status === undefined) return undefined;
  const { busiest, slowest, delayed, deepest } = status.tenants;
  return [...busiest, ...slowest, ...delayed, ...deepest].find(row => row.tenant === tenant);
}

function plots({ ledger, sizes, info, gatewayProblem }: TenantView): Html {
  if (gatewayProblem !== undefined) return NOTHING;
  const known = sizes.bytes.filter(value => value !== null);
  const grown = known.length > 1 ? known.at(-1)! - known[0]! : 0;
  const perMinute = ledger?.jobsPerMinute ?? [];
  return html`${plot({
    id: 'plot-jobs',
    title: 'Jobs per minute, from its ledger',
    now: formatCount(perMinute.at(-1) ?? 0),
    note: `${formatCount(perMinute.reduce((sum, jobs) => sum + jobs, 0))} in the last ${MINUTES} minutes`,
    unit: 'count',
    format: formatCount,
    everyMs: 60_000,
    endsAt: Math.floor((ledger?.endsAt ?? 0) / 60_000) * 60_000,
    series: [{ name: 'jobs', style: 'main', values: perMinute }],
  })}${plot({
    id: 'plot-size',
    title: 'Size',
    now: info?.bytes == null ? '–' : formatBytes(info.bytes + (info.walBytes ?? 0)),
    note: `while watched: ${grown === 0 ? 'the file did not grow' : `the file ${grown > 0 ? 'grew' : 'shrank'} by ${formatBytes(Math.abs(grown))}`}`,
    unit: 'bytes',
    format: formatBytes,
    everyMs: sizes.everyMs,
    endsAt: sizes.endsAt,
    series: [
      { name: 'file', style: 'main', values: sizes.bytes },
      { name: 'log', style: 'second', values: sizes.walBytes },
    ],
  })}`;
}

function queue({ jobs, facts, tenant, now }: TenantView): Html {
  const total = facts.waitingJobs + facts.activeJobs;
  return html`<h2>Queue</h2>
    <p class="hint">What comes next, first ${total > jobs.length ? `${jobs.length} of ${formatCount(total)}` : ''}</p>
    ${
      jobs.length === 0
        ? html`<p class="empty">Nothing waits: everything that was sent is applied.</p>`
        : html`<table><thead><tr><th scope="col">Job</th><th scope="col">Where</th><th scope="col" class="num">Sent</th></tr></thead>
            <tbody>${jobs.map(
              job => html`<tr data-key="${job.id}"><td><a href="/queues/queue/tenant.${tenant}/${job.id}">${job.name.replace(`${tenant} · `, '')}</a></td>
                <td>${job.active ? chip('info', 'with the broker') : 'waits'}</td><td class="num">${formatAgo(now - job.at)}</td></tr>`,
            )}</tbody></table>`
    }`;
}

function commits({ ledger, now, gatewayProblem }: TenantView): Html {
  const rows = ledger?.commits ?? [];
  return html`<h2>Last commits</h2>
    <p class="hint">From the ledger in the tenant’s own file</p>
    ${
      rows.length === 0
        ? html`<p class="empty">${gatewayProblem === undefined ? 'No broker has committed to this file yet.' : 'The gateway reads them; it does not answer.'}</p>`
        : html`<table><thead><tr><th scope="col">Commit</th><th scope="col" class="num">Jobs</th><th scope="col" class="num">Writes</th><th scope="col" class="num">When</th></tr></thead>
            <tbody>${rows.map(
              commit =>
                html`<tr data-key="c${commit.commitSeq}"><td>${formatCount(commit.commitSeq)}</td><td class="num">${formatCount(commit.jobs)}</td><td class="num">${formatCount(commit.writes)}</td><td class="num">${formatAgo(now - commit.at)}</td></tr>`,
            )}</tbody></table>`
    }`;
}

function errors({ ledger, letters, tenant, now }: TenantView): Html {
  const failures = ledger?.failures ?? [];
  return html`<div class="columns">
    <section class="card" aria-labelledby="letters-title"><h2 id="letters-title">Dead letters</h2>
      <p class="hint">Writes that failed without a waiting caller, or were set aside</p>
      ${
        letters.length === 0
          ? html`<p class="empty">None of this tenant.</p>`
          : html`<div class="scroll"><table><tbody>${letters.map(({ id, content, setAsideAt }) =>
              content === undefined
                ? NOTHING
                : html`<tr data-key="${id}"><td><a href="/queues/queue/dead-letters/${encodeURIComponent(id)}">${describeStatement(content.sql)}</a><br /><code>${content.error.code}</code> ${content.error.message} <span class="dim">${formatAgo(now - setAsideAt)}</span></td>
                  <td><div class="actions">
                    ${content.message === undefined ? NOTHING : html`<form method="post" action="/tenants/${tenant}/letters/${encodeURIComponent(id)}/retry"><button>Retry</button></form>`}
                    <form method="post" action="/tenants/${tenant}/letters/${encodeURIComponent(id)}/drop"><button class="danger">Drop</button></form>
                  </div></td></tr>`,
            )}</tbody></table></div>`
      }
    </section>
    <section class="card" aria-labelledby="failures-title"><h2 id="failures-title">Writes that failed</h2>
      <p class="hint">Each caller got the error; no other write was affected</p>
      ${
        failures.length === 0
          ? html`<p class="empty">None among the last thousand jobs.</p>`
          : html`<div class="scroll"><table><tbody>${failures.map(
              failure =>
                html`<tr data-key="${failure.receiptId}"><td><code>${failure.code}</code> ${failure.message}<br /><span class="dim">receipt ${failure.receiptId}</span></td><td class="num" title="${formatTime(failure.at)} UTC">${formatAgo(now - failure.at)}</td></tr>`,
            )}</tbody></table></div>`
      }
    </section>
  </div>`;
}

function transactions({ status, tenant, now }: TenantView): Html {
  const open = status?.transactions.open.filter(transaction => transaction.tenant === tenant) ?? [];
  if (open.length === 0) return NOTHING;
  return html`<section class="card">${openTransactions({ open, total: open.length }, now)}
    <p class="hint">An open transaction holds up this tenant’s other writes. Past its deadline it ends as soon as another write waits: ${plural(open.length, 'transaction')} now.</p></section>`;
}

function dialogs(tenant: string): Html {
  return html`<dialog id="pause-dialog" aria-labelledby="pause-title">
      <h2 id="pause-title">Pause ${tenant}?</h2>
      <p>The broker finishes what it has begun and closes the file. New writes through the gateway are refused (TENANT_PAUSED), those of SDK clients wait in the queue. Reads continue. Resume it when you are done. The overview lists who paused it, since when and why.</p>
      <form method="post" action="/tenants/${tenant}/pause">
        <label for="reason">Why? (optional)</label>
        <input id="reason" name="reason" maxlength="${MAX_REASON_LENGTH}" placeholder="restoring from last night’s backup, ticket 4711" />
        <div class="row"><button type="button" data-close>Cancel</button><button class="primary">Pause</button></div>
      </form>
    </dialog>`;
}
