import { parseReceiptId } from '@onewriter/protocol';
import { ACCOUNTS, INITIAL_BALANCE, rowsOf, SPOILERS } from '../operation.ts';
import { describe, type Write } from './answers.ts';
import type { Findings } from './findings.ts';
import type { OracleOptions } from './options.ts';
import type { LogRow, TenantContent } from './tenant-content.ts';

/* What a tenant's file holds, beside what was answered of its writes. */

/** Compares a tenant's file with all writes of the tenant. */
export function compareTenant(
  tenant: string,
  content: TenantContent,
  writes: readonly Write[],
  options: OracleOptions,
  found: Findings,
): void {
  const byId = new Map(writes.map(write => [`${write.client} ${write.n}`, write]));
  const rowsByWrite = new Map<Write, LogRow[]>();
  for (const row of content.rows) {
    if (row.tenant !== tenant) {
      found.add('foreign-row', `A row of tenant ${row.tenant} is in the file of ${tenant}.`, {
        ...row,
        tenant,
      });
      continue;
    }
    const write = byId.get(`${row.client} ${row.n}`);
    if (write === undefined) {
      found.add('unknown-row', `No client issued the write of row ${row.pos}.`, row);
      continue;
    }
    const rows = rowsByWrite.get(write);
    if (rows === undefined) rowsByWrite.set(write, [row]);
    else rows.push(row);
  }
  for (const write of writes) {
    compareWrite(write, rowsByWrite.get(write) ?? [], content, options, found);
  }
  const spoiled = writes.some(
    ({ op }) => op.kind === 'steps' || (op.kind === 'bad' && SPOILERS.includes(op.how)),
  );
  checkHoles(content, spoiled, options.ledgerMayBePruned ?? false, tenant, found);
  checkOrder(content.rows, byId, found);
  // A job in several commits reports the last one.
  if (!spoiled) checkCommitOrder(content, byId, found);
  checkBalances(content, tenant, found);
  checkRegisters(content, tenant, found);
}

/**
 * Every commit of writes leaves a row in the ledger; the runs are too short for rows to be pruned. A write that spoils
 * its transaction makes the batch take several commits, and a job that lies in several of them shows only the last in
 * its row: in a tenant that was sent such writes, as many commits before a row are excused as its job can explain.
 */
function checkHoles(
  { ledger, noted, commitSeq }: TenantContent,
  spoiled: boolean,
  pruned: boolean,
  tenant: string,
  found: Findings,
): void {
  /** Commits in the ledger, with the number of writes of their largest job. */
  const seen = new Map<number, number>();
  for (const { commitSeq: seq, results } of ledger.values()) {
    seen.set(seq, Math.max(seen.get(seq) ?? 0, results.length));
  }
  let excused = 0;
  const oldest = pruned ? Math.min(commitSeq, ...seen.keys()) : 1;
  for (let seq = commitSeq; seq >= oldest; seq--) {
    const writes = seen.get(seq);
    if (writes !== undefined) excused = spoiled ? writes - 1 : 0;
    else if (!noted.has(seq) && excused-- <= 0) {
      found.add('hole', `commit_seq ${seq} of ${commitSeq} is not in the ledger.`, { tenant });
    }
  }
  for (const seq of seen.keys()) {
    if (seq >= 1 && seq <= commitSeq) continue;
    found.add('hole', `commit_seq ${seq} is in the ledger, but the file counts to ${commitSeq}.`, { tenant });
  }
}

/** Whether a result in the ledger is an error. */
function isFailure(result: unknown): boolean {
  return typeof result === 'object' && result !== null && 'e' in result;
}

/** How often a write must be there. */
function compareWrite(
  write: Write,
  rows: readonly LogRow[],
  content: TenantContent,
  options: OracleOptions,
  found: Findings,
): void {
  const expectedRows = rowsOf(write.op);
  const copies = new Map<number, number>();
  for (const { part } of rows) copies.set(part, (copies.get(part) ?? 0) + 1);
  if ([...copies.values()].some(count => count > 1)) {
    found.add('doubled', `It is there ${Math.max(...copies.values())} times (${describe(write)}).`, write);
  }
  const applied = copies.size > 0;
  if (applied && copies.size !== expectedRows) {
    found.add('partial', `${copies.size} of its ${expectedRows} rows are there (${describe(write)}).`, write);
  }
  const committed =
    write.answers.some(({ outcome }) => outcome === 'committed') ||
    write.receipts.some(({ state }) => state === 'committed');
  if (committed && !applied && expectedRows > 0 && !isExcused(write, options)) {
    found.add('lost', `Acknowledged, and it is not there (${describe(write)}).`, write);
  }
  const failed =
    write.answers.length === write.attempts && write.answers.every(({ outcome }) => outcome === 'failed');
  if (failed && applied) {
    found.add('false-failure', `Reported failed, and it is there (${describe(write)}).`, write);
  }
  checkReceipts(write, applied, options, found);
  checkLedger(write, applied, content, options, found);
  checkAccepted(write, applied, committed, options, found);
  // What an excused answer speaks of may be lost, and the same write applied again from the queue as another row.
  const rowid = write.answers.flatMap(answer =>
    answer.outcome === 'committed' && !isWithin(answer.at, options) ? [answer.rowid] : [],
  )[0];
  if (rowid !== undefined && applied && rows[0]!.pos !== rowid) {
    found.add('wrong-answer', `The answer says rowid ${rowid}, and it is row ${rows[0]!.pos}.`, write);
  }
}

/** Whether each answer that a write is committed was given while its loss is excused. */
function isExcused({ answers, receipts }: Write, options: OracleOptions): boolean {
  const said = [
    ...answers.filter(({ outcome }) => outcome === 'committed'),
    ...receipts.filter(({ state }) => state === 'committed'),
  ];
  return said.every(({ at }) => isWithin(at, options));
}

/** Whether what was committed may be lost where its answer came at that time. */
function isWithin(at: number, { commitsMayBeLost = [] }: OracleOptions): boolean {
  return commitsMayBeLost.some(({ from, to }) => at >= from && at <= to);
}

/** What receipts said when asked later. */
function checkReceipts(write: Write, applied: boolean, options: OracleOptions, found: Findings): void {
  const states = write.receipts.map(({ state }) => state).filter(state => state !== 'pending');
  // Each receipt of a write that was sent again belongs to one attempt.
  if (write.attempts === 1 && states.includes('failed') && applied) {
    found.add('wrong-receipt', `Its receipt said failed, and it is there (${describe(write)}).`, write);
  }
  const last = states.at(-1);
  if (write.attempts === 1 && last === 'unknown' && applied && !options.ledgerMayBePruned) {
    found.add('wrong-receipt', `Its receipt is not known, and it is there (${describe(write)}).`, write);
  }
  if (write.attempts === 1 && states.includes('committed') && states.includes('failed')) {
    found.add('wrong-receipt', `Its receipt said ${states.join(', ')}.`, write);
  }
  if (write.receipts.at(-1)?.state === 'pending') {
    found.add('unsettled', `Its receipt was still pending at the end (${describe(write)}).`, write);
  }
}

/** What a receipt's ledger entry says, also where no client asked for it. */
function checkLedger(
  write: Write,
  applied: boolean,
  content: TenantContent,
  options: OracleOptions,
  found: Findings,
): void {
  const receiptIds = write.answers.flatMap(answer =>
    answer.outcome === 'unknown' && answer.receiptId !== undefined ? [answer.receiptId] : [],
  );
  if (write.accepted !== undefined) receiptIds.push(write.accepted.receiptId);
  // One write, several jobs: any of them may have been the one.
  if (write.attempts > 1) return;
  for (const receiptId of receiptIds) {
    const { jobId, index } = parseReceiptId(receiptId);
    const entry = content.ledger.get(jobId);
    if (entry === undefined && options.ledgerMayBePruned) continue;
    const result = entry?.results[index];
    const says = result !== undefined && !isFailure(result);
    if (says !== applied && rowsOf(write.op) > 0) {
      const what = entry === undefined ? 'does not know it' : says ? 'says committed' : 'says failed';
      found.add('wrong-receipt', `The ledger ${what}, and it is ${applied ? '' : 'not '}there.`, write);
    }
  }
}

/** A write that the queue accepted is committed or failed sooner or later, and never just gone. */
function checkAccepted(
  write: Write,
  applied: boolean,
  committed: boolean,
  options: OracleOptions,
  found: Findings,
): void {
  const { accepted } = write;
  if (accepted === undefined || applied || committed) return;
  const failed =
    write.answers.some(({ outcome }) => outcome === 'failed') ||
    write.receipts.some(({ state }) => state === 'failed');
  if (failed) return;
  const excused = options.acceptedMayBeLost?.some(({ from, to }) => accepted.at >= from && accepted.at <= to);
  if (!excused) {
    found.add('accepted-lost', `The queue had accepted it, and it is not there (${describe(write)}).`, write);
  }
}

/** Rows of one client are in the order of issue. */
function checkOrder(rows: readonly LogRow[], byId: ReadonlyMap<string, Write>, found: Findings): void {
  const last = new Map<string, { readonly n: number; readonly part: number; readonly pos: number }>();
  for (const row of rows) {
    const write = byId.get(`${row.client} ${row.n}`);
    // A gateway serves each request alone; a write that was sent again has the place of one of its attempts.
    if (write === undefined || write.via !== 'sdk' || write.attempts > 1) continue;
    const before = last.get(row.client);
    if (before !== undefined && (row.n < before.n || (row.n === before.n && row.part < before.part))) {
      found.add('reordered', `Row ${row.pos} follows write ${before.n} in row ${before.pos}.`, row);
    } else last.set(row.client, row);
  }
}

/** An acknowledged commitSeq rises along the log. The receipt of a job that took several commits has the last one. */
function checkCommitOrder(
  { rows, noted }: TenantContent,
  byId: ReadonlyMap<string, Write>,
  found: Findings,
): void {
  let highest = 0;
  for (const row of rows) {
    const write = byId.get(`${row.client} ${row.n}`);
    for (const answer of write?.answers ?? []) {
      if (answer.outcome !== 'committed' || answer.commitSeq === undefined || noted.has(answer.commitSeq))
        continue;
      if (answer.commitSeq < highest) {
        found.add(
          'wrong-answer',
          `Acknowledged commit ${answer.commitSeq}, after a row of commit ${highest}.`,
          row,
        );
      }
      highest = Math.max(highest, answer.commitSeq);
    }
  }
}

function checkBalances(content: TenantContent, tenant: string, found: Findings): void {
  const expected = new Map(Array.from({ length: ACCOUNTS }, (_, id) => [id, INITIAL_BALANCE]));
  for (const { source, target, amount } of content.rows) {
    if (source === null || target === null || amount === null) continue;
    expected.set(source, expected.get(source)! - amount);
    expected.set(target, expected.get(target)! + amount);
  }
  let sum = 0;
  for (const [id, balance] of expected) {
    const actual = content.balances.get(id);
    sum += actual ?? 0;
    if (actual !== balance) {
      found.add('balance', `Account ${id} has ${actual}, and its transfers make ${balance}.`, { tenant });
    }
  }
  if (sum !== ACCOUNTS * INITIAL_BALANCE) {
    found.add('balance', `The accounts hold ${sum} in all, not ${ACCOUNTS * INITIAL_BALANCE}.`, { tenant });
  }
}

function checkRegisters(content: TenantContent, tenant: string, found: Findings): void {
  const expected = new Map<number, { client: string; n: number; version: number }>();
  for (const { register, client, n } of content.rows) {
    if (register === null) continue;
    expected.set(register, { client, n, version: (expected.get(register)?.version ?? 0) + 1 });
  }
  for (const [id, register] of content.registers) {
    const { client, n, version } = expected.get(id) ?? { client: null, n: null, version: 0 };
    if (register.client !== client || register.n !== n || register.version !== version) {
      found.add(
        'register',
        `Register ${id} is ${register.client} ${register.n} v${register.version}, and the log makes ${client} ${n} v${version}.`,
        { tenant },
      );
    }
  }
}
