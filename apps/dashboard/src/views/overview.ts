import { type BrokerStatus, STATUS_BOUNDS, type StatusTenant } from '@onewriter/protocol';
import type { Moment } from '../live/status-watch.ts';
import type { Problem } from '../live/verdict.ts';
import {
  formatAge,
  formatAgo,
  formatBytes,
  formatCount,
  formatMs,
  formatShare,
  formatSpan,
  plural,
} from './format.ts';
import { heldSince, holderLine, nameHold } from './holder.ts';
import { type Html, html, NOTHING } from './html.ts';
import { chip, icon } from './icon.ts';
import { lanes } from './lanes.ts';
import { bar, plot } from './plot.ts';
import { type Regions, region } from './regions.ts';

/*
 * For a person who looks for five seconds, perhaps at three in the morning: first the state in words and what to do,
 * then figures with their last quarter of an hour, then who it is about, then the parts underneath.
 */

/** Tenants that are kept still, of which the overview shows so many; the rest is in the list of tenants. */
const MAX_PAUSED_ROWS = 50;

/** The overview's pieces, by the ids of the places they go to. */
export function overviewRegions(moment: Moment): Regions {
  const status = moment.look.group?.status;
  return {
    verdict: verdict(moment),
    plots: plots(moment),
    parked: parked(moment),
    tenants: status === undefined ? unknownTenants(moment) : tenants(status),
    lanes: status === undefined ? NOTHING : lanes(status),
    brokers: brokers(moment),
    redis: redis(moment),
    wal: status === undefined ? NOTHING : wal(status, moment),
  };
}

/** The overview. */
export function overviewPage(moment: Moment): Html {
  const regions = overviewRegions(moment);
  return html`<h1 class="hidden">Overview</h1>
    ${region('verdict', regions, 'verdict-place')}
    ${region('plots', regions, 'plots')}
    ${region('parked', regions)}
    ${region('tenants', regions, 'columns')}
    <div class="columns pairs">
      ${region('brokers', regions, 'card')}
      ${region('lanes', regions, 'card')}
      ${region('redis', regions, 'card')}
      ${region('wal', regions, 'card')}
    </div>`;
}

function verdict({ look, verdict: { tone, headline, problems } }: Moment): Html {
  const serious = problems.filter(({ level }) => level !== 'info').length;
  const mark = tone === 'good' ? '✓' : `${tone === 'critical' ? '✕' : '!'} ${serious}`;
  return html`<section class="verdict ${tone}" aria-label="State" data-title="${mark} Overview · Onewriter">
      <div class="verdict-words">
        ${icon(tone)}
        <div>
          <p class="headline" role="status">${headline}</p>
          <p class="subline">${subline(look.group?.status, look.group?.brokers.length ?? 0)}</p>
        </div>
      </div>
      ${
        problems.length === 0
          ? NOTHING
          : html`<ul class="problems">${problems.map(problem => problemItem(problem))}</ul>`
      }
    </section>`;
}

function subline(status: BrokerStatus | undefined, brokerCount: number): Html {
  if (status === undefined) {
    return brokerCount === 0
      ? html`No broker reports.`
      : html`${plural(brokerCount, 'broker')} ${brokerCount === 1 ? 'is' : 'are'} there and none of them leads.`;
  }
  const { leader, at, writes, queue, tenants } = status;
  const standbys = Math.max(0, brokerCount - 1);
  return html`<strong>${leader.host}</strong> leads (process ${leader.pid}, epoch ${leader.epoch}, for ${formatAge(at - leader.since)});
    ${standbys === 0 ? 'no standby' : `${plural(standbys, 'broker')} ${standbys === 1 ? 'stands' : 'stand'} by`}.
    ${formatCount(writes.perSecond)} writes/s of ${plural(tenants.active, 'tenant')}, ${plural(queue.depth, 'job')} waiting.`;
}

function problemItem({ level, text, remedy, tenant, alert }: Problem): Html {
  const link =
    tenant !== undefined
      ? html` <a href="/tenants/${tenant}">Open ${tenant}</a>`
      : alert === 'OnewriterDeadLetters'
        ? html` <a href="/queues/queue/dead-letters">Open the dead letters</a>`
        : NOTHING;
  return html`<li class="problem ${level}" data-key="${alert}${tenant ?? ''}">
    ${icon(level)}
    <div>
      <p class="problem-text"><span class="hidden">${level}: </span>${text}</p>
      <p class="problem-remedy">${remedy ?? ''}${link}</p>
    </div>
  </li>`;
}

function plots({ look, history }: Moment): Html {
  const status = look.group?.status;
  const writes = status?.writes;
  const none = '–';
  const common = { everyMs: history.everyMs, endsAt: history.endsAt };
  const failed =
    writes === undefined || writes.failedPerSecond === 0
      ? 'none failed'
      : `${formatCount(writes.failedPerSecond)}/s failed`;
  return html`${plot({
    ...common,
    id: 'plot-writes',
    title: 'Writes per second',
    now: writes === undefined ? none : formatCount(writes.perSecond),
    note: writes === undefined ? undefined : failed,
    unit: 'count',
    format: formatCount,
    series: [
      { name: 'writes', style: 'main', values: history.writes },
      { name: 'failed', style: 'second', values: history.failed },
    ],
  })}${plot({
    ...common,
    id: 'plot-commit',
    title: 'Commit latency',
    now: writes === undefined ? none : formatMs(writes.commitP99Ms),
    note: writes === undefined ? undefined : `p99; p50 ${formatMs(writes.commitP50Ms)}`,
    unit: 'ms',
    format: formatMs,
    series: [
      { name: 'p99', style: 'main', values: history.p99 },
      { name: 'p50', style: 'second', values: history.p50 },
    ],
  })}${plot({
    ...common,
    id: 'plot-depth',
    title: 'Queue depth',
    now: status === undefined ? none : formatCount(status.queue.depth),
    note:
      status === undefined ? undefined : `jobs; enqueue to commit p99 ${formatMs(status.writes.delayP99Ms)}`,
    unit: 'count',
    format: formatCount,
    series: [{ name: 'jobs', style: 'main', values: history.depth }],
  })}`;
}

function parked({ look, paused, walk }: Moment): Html {
  const now = look.group?.readAt ?? look.at;
  const parkedTenants = look.group?.status?.parked;
  // Without Redis nothing was counted.
  const isSearching = !walk.complete && walk.total > 0;
  const isEmpty = (parkedTenants === undefined || parkedTenants.total === 0) && paused.length === 0;
  if (isEmpty && !isSearching) return NOTHING;
  const search = `Looked at ${walk.looked} of ${walk.total} tenants for pauses so far.`;
  const rows = [
    ...(parkedTenants?.tenants ?? []).map(
      ({ tenant, code, message, since }) => html`<tr data-key="${tenant}">
        <th scope="row"><a href="/tenants/${tenant}">${tenant}</a></th>
        <td>${chip('critical', 'parked')}</td>
        <td><code>${code}</code> ${message}</td>
        <td class="num">${formatAge(now - since)}</td>
      </tr>`,
    ),
    ...paused.slice(0, MAX_PAUSED_ROWS).map(
      ({ tenant, waitingJobs, holders }) => html`<tr data-key="${tenant}">
        <th scope="row"><a href="/tenants/${tenant}">${tenant}</a></th>
        <td>${chip(waitingJobs > 0 ? 'warning' : 'info', nameHold(holders))}</td>
        <td>${holders.map(holder => holderLine(holder, now)).join('; ')}; ${plural(waitingJobs, 'job')} waiting</td>
        <td class="num">${ageOf(heldSince(holders), now)}</td>
      </tr>`,
    ),
  ];
  return html`<section class="card wide" aria-labelledby="parked-title">
    <h2 id="parked-title">Not written now</h2>
    <p class="hint">Parked: the file cannot be written; the broker tries again. Paused: until a person resumes it. Held: until a program has finished its work on the file.${isSearching ? ` ${search}` : ''}</p>
    <div class="scroll"><table>
      <thead><tr><th scope="col">Tenant</th><th scope="col">State</th><th scope="col">Why</th><th scope="col" class="num">For</th></tr></thead>
      <tbody>${rows}</tbody>
    </table></div>
  </section>`;
}

function ageOf(since: number | undefined, now: number): string {
  return since === undefined ? '' : formatAge(now - since);
}

interface Measure {
  readonly key: string;
  readonly title: string;
  readonly hint: string;
  readonly head: readonly [string, string];
  readonly rows: readonly StatusTenant[];
  readonly value: (row: StatusTenant) => number;
  readonly first: (row: StatusTenant) => string;
  readonly second: (row: StatusTenant) => string;
  readonly alarm: (row: StatusTenant) => boolean;
  readonly empty: string;
}

function tenants({ tenants: { busiest, slowest, delayed, deepest, windowMs } }: BrokerStatus): Html {
  const seconds = Math.round(windowMs / 1_000);
  const waiting = delayed.length > 0 ? delayed : deepest;
  const measures: readonly Measure[] = [
    {
      key: 'busiest',
      title: 'Busiest tenants',
      hint: `By writes per second, the last ${seconds} s`,
      head: ['writes/s', 'of a thread'],
      rows: busiest,
      value: row => row.writesPerSecond,
      first: row => formatCount(row.writesPerSecond),
      second: row => formatShare(row.busyShare),
      alarm: row => row.busyShare > 0.9,
      empty: 'No writes in the last seconds. A first write: npx onewriter sql demo "CREATE TABLE t(a)"',
    },
    {
      key: 'slowest',
      title: 'Slowest tenants',
      hint: 'By the duration of a batch in its thread',
      head: ['mean', 'longest'],
      rows: slowest,
      value: row => row.meanBatchMs,
      first: row => formatMs(row.meanBatchMs),
      second: row => formatMs(row.maxBatchMs),
      alarm: row => row.maxBatchMs > STATUS_BOUNDS.laneHeldMs,
      empty: 'Nothing was applied in the last seconds.',
    },
    {
      key: 'delayed',
      title: 'Most delayed tenants',
      hint: 'By the longest time from enqueue to commit',
      head: ['longest', 'jobs wait'],
      rows: waiting,
      value: row => row.maxDelayMs,
      first: row => formatMs(row.maxDelayMs),
      second: row => formatCount(row.queuedJobs),
      alarm: row => row.maxDelayMs > STATUS_BOUNDS.delayMs || row.queuedJobs > STATUS_BOUNDS.tenantQueuedJobs,
      empty: 'No writes are waiting.',
    },
  ];
  return html`${measures.map(measure => tenantTable(measure))}`;
}

function tenantTable({ key, title, hint, head, rows, value, first, second, alarm, empty }: Measure): Html {
  const most = rows.reduce((largest, row) => Math.max(largest, value(row)), 0);
  return html`<section class="card" aria-labelledby="${key}-title" data-key="${key}">
    <h2 id="${key}-title">${title}</h2>
    <p class="hint">${hint}</p>
    ${
      rows.length === 0
        ? html`<p class="empty">${empty}</p>`
        : html`<table class="ranked">
            <thead><tr><th scope="col">Tenant</th><th scope="col" class="num">${head[0]}</th><th scope="col" class="num">${head[1]}</th></tr></thead>
            <tbody>${rows.map(
              row => html`<tr data-key="${row.tenant}"${alarm(row) ? html` class="alarm"` : NOTHING}>
                <th scope="row"><a href="/tenants/${row.tenant}">${row.tenant}</a>${bar(most > 0 ? value(row) / most : 0, alarm(row) ? 'warning' : 'plain')}</th>
                <td class="num">${first(row)}</td>
                <td class="num">${second(row)}</td>
              </tr>`,
            )}</tbody>
          </table>`
    }
  </section>`;
}

function unknownTenants({ look }: Moment): Html {
  return html`<section class="card wide"><h2>Tenants</h2><p class="empty">${
    look.failure === undefined
      ? 'The leading broker reports on its tenants. No broker leads.'
      : 'The broker’s report on its tenants is in Redis, and Redis does not answer.'
  }</p></section>`;
}

function brokers({ look }: Moment): Html {
  const group = look.group;
  const known = group?.brokers ?? [];
  const process = group?.status?.process;
  const words = { leading: 'leads', standby: 'stands by', starting: 'starts', draining: 'drains' } as const;
  return html`<h2>Brokers</h2>
    ${
      known.length === 0
        ? html`<p class="empty">No broker reports. On the machine with the files: <code>npm start</code>, or its service.</p>`
        : html`<table><thead><tr><th scope="col">Host</th><th scope="col">State</th><th scope="col" class="num">Process</th><th scope="col" class="num">Runs for</th></tr></thead>
            <tbody>${known.map(
              broker => html`<tr data-key="${broker.broker}">
                <th scope="row">${broker.host}</th>
                <td>${chip(broker.state === 'leading' ? 'good' : 'info', words[broker.state])}</td>
                <td class="num">${broker.pid}</td>
                <td class="num">${formatAge((group?.readAt ?? 0) - broker.startedAt)}</td>
              </tr>`,
            )}</tbody></table>`
    }
    ${
      process === undefined
        ? NOTHING
        : html`<dl class="facts">
            <div><dt>Memory</dt><dd>${formatBytes(process.rssBytes)}</dd></div>
            <div><dt>Event loop late by (p99)</dt><dd>${formatMs(process.eventLoopDelayP99Ms)}</dd></div>
          </dl>`
    }`;
}

function redis({ look }: Moment): Html {
  if (look.group === undefined)
    return html`<h2>Redis</h2><p>${chip('critical', 'does not answer')}</p><p class="hint">${look.failure}</p>`;
  const redisStatus = look.group.status?.redis;
  if (redisStatus === undefined)
    return html`<h2>Redis</h2><p>${chip('good', 'answers')}</p><p class="empty">The leading broker measures it; none leads.</p>`;
  const { usedMemoryBytes, maxMemoryBytes, aofEnabled, aofFsync, aofLastWriteOk, rdbLastSaveOk } =
    redisStatus;
  const share = maxMemoryBytes > 0 ? usedMemoryBytes / maxMemoryBytes : undefined;
  const durable = aofEnabled && aofLastWriteOk && rdbLastSaveOk;
  return html`<h2>Redis</h2>
    <dl class="facts">
      <div><dt>Persistence</dt><dd>${chip(durable ? 'good' : aofEnabled && !aofLastWriteOk ? 'critical' : 'warning', aofEnabled ? `AOF${aofFsync === null ? '' : ` ${aofFsync}`}` : 'no AOF')}</dd></div>
      ${aofEnabled && !aofLastWriteOk ? html`<div><dt>Last AOF write</dt><dd>failed</dd></div>` : NOTHING}
      ${rdbLastSaveOk ? NOTHING : html`<div><dt>Last snapshot</dt><dd>failed</dd></div>`}
      <div><dt>Eviction</dt><dd>${redisStatus.maxMemoryPolicy === 'noeviction' ? 'never' : chip('critical', redisStatus.maxMemoryPolicy)}</dd></div>
      <div><dt>Memory</dt><dd>${formatBytes(usedMemoryBytes)}${share === undefined ? ', no limit' : ` of ${formatBytes(maxMemoryBytes)}`}</dd></div>
      ${share === undefined ? NOTHING : html`<div class="bar-row"><dd>${bar(share, share > STATUS_BOUNDS.redisMemoryShare ? 'critical' : 'plain')}</dd></div>`}
      <div><dt>Round trip</dt><dd>${formatMs(redisStatus.roundTripMs)}</dd></div>
      <div><dt>Commands</dt><dd>${formatCount(redisStatus.commandsPerSecond)}/s</dd></div>
      <div><dt>Connections</dt><dd>${formatCount(redisStatus.connectedClients)}</dd></div>
      <div><dt>Version</dt><dd>${redisStatus.version}</dd></div>
    </dl>`;
}

function wal(
  { wal: { largest, held, heldTotal }, disk, deadLetters, transactions, at }: BrokerStatus,
  { look }: Moment,
): Html {
  const now = look.group?.readAt ?? at;
  const free = disk.totalBytes > 0 ? disk.freeBytes / disk.totalBytes : 1;
  const most = largest.reduce((biggest, { bytes }) => Math.max(biggest, bytes), 0);
  return html`<h2>Files</h2>
    <dl class="facts">
      <div><dt>Disk of <code>${disk.path}</code></dt><dd>${formatBytes(disk.freeBytes)} free of ${formatBytes(disk.totalBytes)}</dd></div>
      <div class="bar-row"><dd>${bar(1 - free, free < STATUS_BOUNDS.diskFreeShareCritical ? 'critical' : free < STATUS_BOUNDS.diskFreeShare ? 'warning' : 'plain')}</dd></div>
      <div><dt>Dead letters</dt><dd>${deadLetters.waiting === 0 ? 'none' : html`<a href="/queues/queue/dead-letters">${formatCount(deadLetters.waiting)}</a>`}</dd></div>
      <div><dt>Open transactions</dt><dd>${formatCount(transactions.total)}</dd></div>
    </dl>
    ${
      heldTotal === 0
        ? NOTHING
        : html`<h3>Logs that a reader holds</h3>
            <ul class="plain">${held.map(
              ({
                tenant,
                bytes,
                since,
                readers,
              }) => html`<li data-key="${tenant}">${icon('warning')} <a href="/tenants/${tenant}">${tenant}</a>
                ${formatBytes(bytes)}, for ${formatAge(now - since)}:
                ${readers.length === 0 ? 'a reader that cannot be named from here' : readers.map(({ pid, command }) => html`process <strong>${pid}</strong> <code>${command === '' ? '(hidden)' : command}</code> `)}</li>`,
            )}</ul>`
    }
    <h3>Largest write-ahead logs</h3>
    ${
      largest.length === 0
        ? html`<p class="empty">No tenant at work has one.</p>`
        : html`<table class="ranked"><tbody>${largest
            .slice(0, 5)
            .map(
              ({ tenant, bytes }) =>
                html`<tr data-key="${tenant}"><th scope="row"><a href="/tenants/${tenant}">${tenant}</a>${bar(most > 0 ? bytes / most : 0)}</th><td class="num">${formatBytes(bytes)}</td></tr>`,
            )}</tbody></table>`
    }
    ${transactions.total === 0 ? NOTHING : openTransactions(transactions, now)}`;
}

/** Interactive transactions, the nearest deadline first. */
export function openTransactions({ open, total }: BrokerStatus['transactions'], now: number): Html {
  return html`<h3>Open transactions</h3>
    <ul class="plain">${open.slice(0, 10).map(
      ({
        tenant,
        id,
        client,
        openedAt,
        deadlineAt,
      }) => html`<li data-key="${id}"><a href="/tenants/${tenant}">${tenant}</a>
        begun ${formatAgo(now - openedAt)}${client === '' ? '' : ` by ${client}`},
        ${deadlineAt > now ? `ends in ${formatSpan(deadlineAt - now)} at the latest` : 'past its deadline: ends when another write waits'}</li>`,
    )}</ul>
    ${total > 10 ? html`<p class="hint">${total - 10} more</p>` : NOTHING}`;
}
