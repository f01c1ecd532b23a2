import { formatBytes } from '@onewriter/files';
import {
  type BrokerStatus,
  findStatusProblems,
  type StatusApart,
  type StatusFinding,
  type StatusReplica,
  type StatusTenant,
} from '@onewriter/protocol';
import type { GroupStatus } from '@onewriter/runtime';
import { describeHolder, findPausedTenants, REPEAT_OFFENDER, type StillTenant } from '@onewriter/tenants';
import { nextForAlert } from '../doctor/next-for-alert.ts';

/** How a status is shown. */
export interface StatusView {
  readonly colour: boolean;
  /** Columns of the terminal. */
  readonly width: number;
  /** Lines of the terminal; what does not fit is left out. */
  readonly height: number;
  readonly group: string;
  /** Where it is, for the head line. */
  readonly place: string;
  /** Tenants that are kept still; default: none. */
  readonly still?: readonly StillTenant[] | undefined;
}

const BARS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const MAX_PROBLEMS = 8;
/** Lines for tenants that are kept still. */
const MAX_STILL = 20;

/** The status for a person who looks for five seconds: what is wrong first, then the figures, then the tenants. */
export function formatStatus(source: GroupStatus, view: StatusView): string {
  const { status, brokers } = source;
  const { still = [] } = view;
  const problems = [...findStatusProblems(source), ...findPausedTenants(still)];
  const paint = (code: number, text: string) => (view.colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const dim = (text: string) => paint(2, text);
  const lines: string[] = [
    `${paint(1, 'Onewriter')}  ${verdict(problems, paint)}  ${dim(`group ${view.group} · ${view.place} · ${clock(source.readAt)}`)}`,
    '',
  ];
  for (const { level, alert, text } of problems.slice(0, MAX_PROBLEMS)) {
    const mark = level === 'critical' ? paint(31, '✗') : paint(33, '!');
    // Whole: what to do is at the end.
    const [first = '', ...rest] = wrap(text, view.width - 3);
    const words = [`${mark} ${first}`, ...rest.map(line => `  ${line}`)];
    const fits = (rest.at(-1) ?? first).length + alert.length + 4 <= view.width;
    if (fits) words.push(`${words.pop()} ${dim(alert)}`);
    else words.push(`  ${dim(alert)}`);
    lines.push(...words);
    for (const [index, line] of wrap(nextForAlert(alert), view.width - 5).entries()) {
      lines.push(index === 0 ? `  ${dim('→')} ${line}` : `    ${line}`);
    }
  }
  if (problems.length > MAX_PROBLEMS)
    lines.push(dim(`  and ${problems.length - MAX_PROBLEMS} more: onewriter doctor`));
  if (problems.length > 0) lines.push('');
  const label = (name: string) => dim(name.padEnd(9));
  if (status === undefined) {
    for (const { pid, host, state } of brokers)
      lines.push(`${label('broker')}pid ${pid} on ${host}: ${state}`);
    lines.push(...stillLines(still, label));
    return fit(lines, view);
  }
  lines.push(
    label('leader') + leaderLine(source, status),
    label('writes') + writesLine(status),
    label('') + sparkline(status, view),
    label('queue') + queueLine(status),
    label('lanes') + lanesLine(status, paint),
    label('redis') + redisLine(status),
    label('disk') + diskLine(status),
  );
  if (status.replica !== undefined) lines.push(label('replica') + replicaLine(status.replica));
  for (const { tenant, code, message, since } of status.parked.tenants) {
    lines.push(`${label('parked')}${tenant}: ${code} ${message} ${dim(`since ${clock(since)}`)}`);
  }
  lines.push(...stillLines(still, label));
  for (const { tenant, bytes, readers } of status.wal.held) {
    const who = readers.map(({ pid, command }) => `pid ${pid} ${command}`).join(', ') || 'a reader';
    lines.push(`${label('log held')}${tenant}: ${formatBytes(bytes)} by ${who}`);
  }
  for (const { tenant, id, deadlineAt } of status.transactions.open) {
    const left = Math.max(0, (deadlineAt - source.readAt) / 1_000).toFixed(1);
    lines.push(`${label('open tx')}${tenant}: ${id}, ${left} s left`);
  }
  lines.push('', ...tenantTable(status.tenants, dim));
  return fit(lines, view);
}

/** Who keeps which tenants still: a pause that was forgotten looks like a tenant that hangs. */
function stillLines(still: readonly StillTenant[], label: (name: string) => string): string[] {
  // The broker lists repeat offenders with the parked tenants.
  const shown = still
    .map(one => ({ ...one, holders: one.holders.filter(({ name }) => name !== REPEAT_OFFENDER) }))
    .filter(({ holders }) => holders.length > 0);
  const lines = shown.slice(0, MAX_STILL).map(({ tenant, waitingJobs, holders }) => {
    const jobs =
      waitingJobs === 0 ? '' : `, ${waitingJobs === 1 ? '1 job waits' : `${waitingJobs} jobs wait`}`;
    return `${label('held')}${tenant}: ${holders.map(describeHolder).join('; ')}${jobs}`;
  });
  if (shown.length > MAX_STILL)
    lines.push(`${label('')}and ${shown.length - MAX_STILL} more: onewriter tenants`);
  return lines;
}

function verdict(problems: readonly StatusFinding[], paint: (code: number, text: string) => string): string {
  const critical = problems.filter(({ level }) => level === 'critical').length;
  if (critical > 0) return paint(31, `✗ ${critical} critical`);
  return problems.length > 0 ? paint(33, `! ${problems.length} to look at`) : paint(32, '● healthy');
}

function leaderLine({ brokers, readAt }: GroupStatus, { leader, process: own }: BrokerStatus): string {
  const standbys = brokers.filter(({ state }) => state === 'standby').length;
  const facts = [
    `pid ${leader.pid} on ${leader.host}, epoch ${leader.epoch}, for ${duration(readAt - leader.since)}`,
    standbys === 0 ? 'no standby' : `${standbys} ${standbys === 1 ? 'standby' : 'standbys'}`,
    `${formatBytes(own.rssBytes)}, event loop ${milliseconds(own.eventLoopDelayP99Ms)}`,
  ];
  return facts.join(' · ');
}

function writesLine({ writes }: BrokerStatus): string {
  const failed = writes.failedPerSecond > 0 ? ` (${rate(writes.failedPerSecond)} failed)` : '';
  return (
    `${rate(writes.perSecond)} writes/s${failed} · commit p50 ${milliseconds(writes.commitP50Ms)} p99 ${milliseconds(writes.commitP99Ms)}` +
    ` · enqueue to commit p50 ${milliseconds(writes.delayP50Ms)} p99 ${milliseconds(writes.delayP99Ms)} · ${writes.total} in all`
  );
}

function queueLine({ queue, tenants, deadLetters }: BrokerStatus): string {
  const letters = deadLetters.waiting > 0 ? ` · ${deadLetters.waiting} dead letters` : '';
  return `${queue.depth} jobs (${queue.waitingJobs} waiting, ${queue.heldJobs} held) · tenants: ${tenants.active} active, ${tenants.open} open, ${tenants.known} known${letters}`;
}

function lanesLine({ lanes, apart }: BrokerStatus, paint: (code: number, text: string) => string): string {
  const all = lanes.map(({ lane, busyShare, tenant, tenantForMs, waitingTenants, spare }) => {
    const at = tenant === null || tenantForMs < 100 ? '' : ` ${tenant} for ${milliseconds(tenantForMs)}`;
    const waiting = waitingTenants > 0 ? ` +${waitingTenants} waiting` : '';
    const bar = paint(busyShare > 0.9 ? 33 : 32, BARS[Math.min(7, Math.floor(busyShare * 8))]!);
    return `${lane}${spare ? ' (spare)' : ''} ${bar} ${Math.round(busyShare * 100)}%${at}${waiting}`;
  });
  return [...all, ...apartWords(apart)].join(' · ');
}

/** The process apart, where it runs or is waited for. */
function apartWords(apart: StatusApart | undefined): string[] {
  if (apart === undefined || !(apart.running || apart.waitingTenants > 0)) return [];
  const at = apart.tenant === null ? ' idle' : ` ${apart.tenant} for ${milliseconds(apart.tenantForMs)}`;
  const waiting = apart.waitingTenants > 0 ? ` +${apart.waitingTenants} waiting` : '';
  return [
    `apart${at}${waiting}${apart.restarts > 0 ? `, ended ${apart.restarts} ${apart.restarts === 1 ? 'time' : 'times'}` : ''}`,
  ];
}

function redisLine({ redis }: BrokerStatus): string {
  const memory =
    redis.maxMemoryBytes > 0
      ? `${formatBytes(redis.usedMemoryBytes)} of ${formatBytes(redis.maxMemoryBytes)}`
      : formatBytes(redis.usedMemoryBytes);
  const aof = redis.aofEnabled ? `AOF ${redis.aofFsync ?? 'on'}` : 'no AOF';
  return `${redis.version} · ${memory} · ${aof} · ${redis.maxMemoryPolicy} · ${milliseconds(redis.roundTripMs)} away · ${rate(redis.commandsPerSecond)} commands/s`;
}

function replicaLine({ stores, lagMs, lagBytes, tenants, packs, gaps, waitingJobs }: StatusReplica): string {
  const [first] = stores;
  const state =
    first?.ok === false
      ? `${first.address} fails: ${first.error ?? 'no answer'}`
      : (first?.address ?? 'no store');
  const lag = lagBytes === 0 ? 'up to date' : `${milliseconds(lagMs)} behind, ${formatBytes(lagBytes)}`;
  const broken = gaps === 0 ? '' : ` · ${gaps} ${gaps === 1 ? 'gap' : 'gaps'}`;
  const waiting = waitingJobs === 0 ? '' : ` · ${waitingJobs} jobs wait for it`;
  return `${state} · ${lag} · ${tenants} tenants · pack ${packs}${broken}${waiting}`;
}

function diskLine({ disk, wal }: BrokerStatus): string {
  const share = disk.totalBytes > 0 ? ` (${Math.round((disk.freeBytes / disk.totalBytes) * 100)} %)` : '';
  const largest = wal.largest[0];
  const log = largest === undefined ? '' : ` · largest log ${formatBytes(largest.bytes)} (${largest.tenant})`;
  return `${formatBytes(disk.freeBytes)} of ${formatBytes(disk.totalBytes)} free${share}${disk.kind === 'network' ? ' on a network file system' : ''}${log}`;
}

/** Writes per second of the last minutes. */
function sparkline({ history }: BrokerStatus, { width }: StatusView): string {
  const values = history.writesPerSecond.slice(-Math.max(10, width - 40));
  if (values.length === 0) return '';
  const top = Math.max(...values, 1);
  const bars = values.map(value => BARS[Math.min(7, Math.floor((value / top) * 7.99))]!).join('');
  return `${bars} ${rate(Math.max(...values))}/s at most in ${duration(values.length * history.everyMs)}`;
}

/** Busiest first, then the slow, delayed or deep ones that are not among them. */
function tenantTable(
  { busiest, slowest, delayed, deepest }: BrokerStatus['tenants'],
  dim: (text: string) => string,
): string[] {
  const rows = new Map<string, StatusTenant>();
  for (const list of [busiest, delayed, deepest, slowest]) for (const row of list) rows.set(row.tenant, row);
  if (rows.size === 0) return [dim('no tenant had work lately')];
  const width = Math.max(6, ...[...rows.keys()].map(name => name.length));
  const head = `${'tenant'.padEnd(width)} ${'writes/s'.padStart(9)} ${'failed/s'.padStart(9)} ${'busy'.padStart(5)} ${'batch'.padStart(8)} ${'max'.padStart(8)} ${'delay'.padStart(8)} ${'queued'.padStart(7)} ${'log'.padStart(10)}`;
  return [
    dim(head),
    ...[...rows.values()].map(
      row =>
        `${row.tenant.padEnd(width)} ${rate(row.writesPerSecond).padStart(9)} ${rate(row.failedPerSecond).padStart(9)} ${`${Math.round(row.busyShare * 100)}%`.padStart(5)} ${milliseconds(row.meanBatchMs).padStart(8)} ${milliseconds(row.maxBatchMs).padStart(8)} ${milliseconds(row.maxDelayMs).padStart(8)} ${String(row.queuedJobs).padStart(7)} ${formatBytes(row.walBytes).padStart(10)}`,
    ),
  ];
}

/** Cuts what does not fit, so that a screen never scrolls. */
function fit(lines: readonly string[], { width, height }: StatusView): string {
  return `${lines
    .slice(0, Math.max(1, height))
    .map(line => cut(line, width))
    .join('\n')}\n`;
}

/** Breaks a text into lines of at most `width` characters; a longer word gets its own line. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines.push(`${lines.pop()} ${word}`);
    else lines.push(word);
  }
  return lines;
}

/** Cuts a line at its visible width: colours take no room. */
export function cut(line: string, width: number): string {
  let visible = 0;
  let index = 0;
  while (index < line.length) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences that colour text
    const colour = /^\u001b\[\d+m/.exec(line.slice(index, index + 8))?.[0];
    if (colour !== undefined) index += colour.length;
    else if (visible >= width - 1 && index < line.length - 1) {
      return `${line.slice(0, index)}…${line.includes('\u001b') ? '\u001b[0m' : ''}`;
    } else {
      visible++;
      index++;
    }
  }
  return line;
}

function clock(ms: number): string {
  return `${new Date(ms).toISOString().slice(11, 19)} UTC`;
}

/** `3.2 ms`, `1.5 s`; `-` where there is none. */
export function milliseconds(ms: number | null): string {
  if (ms === null) return '-';
  if (ms >= 10_000) return `${Math.round(ms / 1_000)} s`;
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(1)} s`;
  return ms >= 100 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

function rate(perSecond: number): string {
  if (perSecond >= 10_000) return `${Math.round(perSecond / 1_000)}k`;
  return perSecond >= 100 || perSecond === 0 ? String(Math.round(perSecond)) : perSecond.toFixed(1);
}

/** `45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
