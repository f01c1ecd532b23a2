import { LEDGER_ROW_OF_JOB, NEWEST_COMMIT_SEQ_SQL, parseReceiptId, tenantFile } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { EntryOf, JournalEntry, Told } from './journal.ts';
import { ACCOUNTS, INITIAL_BALANCE, type Operation, rowsOf, SPOILERS } from './operation.ts';
import type { StarvedSpan } from './starvation.ts';

/*
 * The oracle compares the answers of clients with what is in the tenants' files, when everything has stopped. It knows
 * nothing of how a write travels: journals and files are all it reads.
 *
 *   journals ──▶ collectWrites ──▶ what may be in the files, per write: exactly once, at most once, not at all
 *                                            │
 *   tenant files ──▶ readTenant ─────────────┴──▶ compare ──▶ violations
 */

/** What the oracle can find. */
export type ViolationKind =
  /** Acknowledged, and not there. */
  | 'lost'
  /** There more than once. */
  | 'doubled'
  /** Reported failed, and there. */
  | 'false-failure'
  /** Acknowledged although it cannot have been committed: it violates a constraint. */
  | 'false-commit'
  /** Some rows of an atomic write are there, and some are not. */
  | 'partial'
  /** Writes of one client to one tenant are not in the order they were issued. */
  | 'reordered'
  /** What a receipt says, or the ledger's entry of it, is not what is in the file. */
  | 'wrong-receipt'
  /** `commitSeq` or `lastInsertRowid` of an answer is not true. */
  | 'wrong-answer'
  /** A commit_seq is missing in the ledger, or one too many is there. */
  | 'hole'
  /** A row is in another tenant's file. */
  | 'foreign-row'
  /** A row that no client wrote. */
  | 'unknown-row'
  /** Balances are not what the transfers in the log make of them. */
  | 'balance'
  /** A register is not what the log makes of it. */
  | 'register'
  /** A read did not see a write that had been reported committed. */
  | 'stale-read'
  /** A caller was not answered, or after its deadline. */
  | 'unsettled'
  /** A write that the queue had accepted has vanished. */
  | 'accepted-lost'
  /** A caller got a code that this fault does not excuse. */
  | 'wrong-code'
  /** PRAGMA integrity_check or foreign_key_check complains, or the file cannot be read. */
  | 'damaged'
  /** Nothing was committed: the run shows nothing. */
  | 'no-progress';

/** One thing that is wrong, with what is needed to look for its cause. */
export interface Violation {
  readonly kind: ViolationKind;
  readonly tenant?: string | undefined;
  readonly client?: string | undefined;
  readonly n?: number | undefined;
  readonly message: string;
}

/** What a run is judged by. */
export interface OracleOptions {
  readonly dataDir: string;
  readonly tenants: readonly string[];
  /** How much later than its deadline a caller may be answered, apart from what the machine took. Default: 100. */
  readonly slackMs?: number | undefined;
  /** When the gateway waited for a CPU; of clients themselves the journals say it. Default: never. */
  readonly gatewayStarved?: readonly StarvedSpan[] | undefined;
  /** Accepted writes may be lost where Redis itself lost them: accepted in one of these spans of time. */
  readonly acceptedMayBeLost?: readonly TimeSpan[] | undefined;
  /** Acknowledged writes may be lost where the machine was: answered in one of these spans of time. */
  readonly commitsMayBeLost?: readonly TimeSpan[] | undefined;
  /**
   * Whether callers may be left in doubt at all; `gateway`: only those whose HTTP connection broke. Default: true.
   */
  readonly unknownAllowed?: boolean | 'gateway' | undefined;
  /** Whether old rows of the ledger may be gone: clocks jumped by more than its retention. Default: false. */
  readonly ledgerMayBePruned?: boolean | undefined;
  /** Whether reads may see an older state: the file was replaced under a reader. Default: false. */
  readonly staleReadsAllowed?: boolean | undefined;
  /** Codes that are neither retryable nor the write's own fault, and that this fault excuses. */
  readonly excusedCodes?: readonly string[] | undefined;
  /** Tenants whose files this fault damages: they are not looked into. */
  readonly damagedTenants?: readonly string[] | undefined;
}

/** A span of time, by {@link monotonicMs}. */
export interface TimeSpan {
  readonly from: number;
  readonly to: number;
}

/** What the oracle found. */
export interface Verdict {
  readonly violations: readonly Violation[];
  readonly counts: {
    readonly issued: number;
    readonly committed: number;
    /** By code. */
    readonly failed: Readonly<Record<string, number>>;
    readonly unknown: number;
    /** Clients that were killed left these without an answer. */
    readonly unanswered: number;
    /** Answers that came after the slack, all of it time that the machine took. */
    readonly starved: number;
    /** How late the latest answer was after its deadline, without the time that the machine took. */
    readonly latestMs: number;
    /** Rows in the logs. */
    readonly rows: number;
    /** Sum of commit_seq over the tenants. */
    readonly commits: number;
  };
}

const DEFAULT_SLACK_MS = 100;
/** Whatever a machine takes: an answer that comes so long after its deadline is late. */
const MAX_STARVED_MS = 10_000;
/** Enough to see what is wrong; a broken run has thousands. */
const MAX_VIOLATIONS = 500;

/** Judges a run. All processes that write must have ended. */
export function judge(journals: readonly (readonly JournalEntry[])[], options: OracleOptions): Verdict {
  const found = new Findings();
  const lateness = new Lateness(options);
  const writes = collectWrites(journals, options, lateness, found);
  let rows = 0;
  let commits = 0;
  for (const tenant of options.tenants) {
    if (options.damagedTenants?.includes(tenant)) continue;
    const written = writes.filter(write => write.tenant === tenant);
    const content = readTenant(options.dataDir, tenant, written, found);
    if (content === undefined) continue;
    rows += content.rows.length;
    commits += content.commitSeq;
    compareTenant(tenant, content, written, options, found);
  }
  const { starved, latestMs } = lateness;
  const counts = { ...countOutcomes(writes), starved, latestMs, rows, commits };
  if (counts.committed === 0) found.add('no-progress', 'No client got a commit acknowledged.');
  return { violations: found.all, counts };
}

type Where = Pick<Violation, 'tenant' | 'client' | 'n'>;

class Findings {
  readonly all: Violation[] = [];

  add(kind: ViolationKind, message: string, where: Where = {}): void {
    if (this.all.length < MAX_VIOLATIONS) {
      const { tenant, client, n } = where;
      this.all.push({ kind, tenant, client, n, message });
    }
  }
}

/** All that is known of a write. */
interface Write {
  readonly tenant: string;
  readonly client: string;
  readonly n: number;
  readonly via: 'sdk' | 'gateway';
  readonly op: Operation;
  /** When it was last sent, and until when its caller may wait. */
  sentAt: number;
  dueAt: number;
  attempts: number;
  answers: (Told & { readonly at: number })[];
  accepted: EntryOf<'accepted'> | undefined;
  receipts: EntryOf<'receipt'>[];
  /** Whether the client was still there to hear answers. */
  ended: boolean;
}

function collectWrites(
  journals: readonly (readonly JournalEntry[])[],
  options: OracleOptions,
  lateness: Lateness,
  found: Findings,
): Write[] {
  const all: Write[] = [];
  for (const journal of journals) {
    const first = journal[0];
    if (first === undefined) continue; // killed before it wrote anything
    if (first.k !== 'client') throw new Error('A journal begins with its client.');
    const { client, via } = first;
    const ended = journal.at(-1)?.k === 'end';
    const writes = new Map<number, Write>();
    const of = (n: number) => {
      const write = writes.get(n);
      if (write === undefined)
        throw new Error(`The journal of ${client} answers write ${n} before its issue.`);
      return write;
    };
    for (const entry of journal) {
      switch (entry.k) {
        case 'client':
        case 'end':
          break;
        case 'issue': {
          const { tenant, n, op, at, timeoutMs } = entry;
          writes.set(n, {
            ...{ tenant, client, n, via, op, sentAt: at, dueAt: at + timeoutMs },
            ...{ attempts: 1, answers: [], accepted: undefined, receipts: [], ended },
          });
          break;
        }
        case 'again': {
          const write = of(entry.n);
          write.attempts++;
          write.sentAt = entry.at;
          write.dueAt = entry.at + entry.timeoutMs;
          break;
        }
        case 'accepted':
          of(entry.n).accepted = entry;
          break;
        case 'told': {
          const write = of(entry.n);
          write.answers.push(entry);
          lateness.check(write, entry, found);
          checkAnswer(write, entry, options, found);
          break;
        }
        case 'receipt':
          of(entry.n).receipts.push(entry);
          break;
        case 'read':
          if (!entry.seen && !options.staleReadsAllowed) {
            found.add('stale-read', 'A read did not see a write reported committed before it.', of(entry.n));
          }
          break;
        default:
          entry satisfies never;
      }
    }
    for (const write of writes.values()) {
      if (ended && write.answers.length < write.attempts) {
        found.add('unsettled', `The caller was never answered (${describe(write)}).`, write);
      }
      all.push(write);
    }
  }
  return all;
}

/** Judges when answers came, apart from the time that the machine took from both sides. */
class Lateness {
  readonly #slackMs: number;
  readonly #gatewayStarved: readonly StarvedSpan[];
  starved = 0;
  latestMs = 0;

  constructor({ slackMs = DEFAULT_SLACK_MS, gatewayStarved = [] }: OracleOptions) {
    this.#slackMs = slackMs;
    this.#gatewayStarved = gatewayStarved;
  }

  check(write: Write, told: EntryOf<'told'>, found: Findings): void {
    const afterMs = told.at - write.dueAt;
    if (afterMs <= 0) return;
    const starvedMs = Math.min(this.#starvedMs(write, told), MAX_STARVED_MS);
    const lateMs = afterMs - starvedMs;
    this.latestMs = Math.max(this.latestMs, lateMs);
    if (lateMs > this.#slackMs) {
      const machine = starvedMs >= 1 ? `, of which the machine took ${Math.round(starvedMs)}` : '';
      const message = `Answered ${Math.round(afterMs)} ms after the deadline${machine} (${describe(write)}).`;
      found.add('unsettled', message, write);
    } else if (afterMs > this.#slackMs) this.starved++;
  }

  #starvedMs(write: Write, told: EntryOf<'told'>): number {
    let starvedMs = told.starvedMs ?? 0;
    if (write.via !== 'gateway') return starvedMs;
    for (const { from, to, ms } of this.#gatewayStarved) {
      if (to > write.dueAt && from < told.at) starvedMs += ms;
    }
    return starvedMs;
  }
}

/** Failures that are the write's own, by kind of operation. */
const OWN_FAILURES: Readonly<Record<Operation['kind'], readonly string[]>> = {
  append: [],
  enqueue: [],
  heavy: [],
  keyed: [],
  bad: ['CONSTRAINT_VIOLATION', 'SQL_ERROR'],
  transfer: ['EXPECTATION_FAILED', 'CONSTRAINT_VIOLATION'],
  register: [],
  steps: [],
  open: [],
};

/** At a bound the answer says when to try again. */
const REFUSALS: readonly string[] = ['TENANT_OVERLOADED', 'BUFFER_FULL', 'QUEUE_FULL', 'QUEUE_UNAVAILABLE'];

function checkAnswer(write: Write, told: EntryOf<'told'>, options: OracleOptions, found: Findings): void {
  if (told.outcome === 'committed' && write.op.kind === 'bad') {
    found.add('false-commit', `A write that must fail (${write.op.how}) was reported committed.`, write);
  }
  const mayDoubt = { true: true, gateway: write.via === 'gateway', false: false }[
    `${options.unknownAllowed ?? true}` as const
  ];
  if (told.outcome === 'unknown' && !mayDoubt) {
    found.add(
      'wrong-code',
      'A caller was left with OUTCOME_UNKNOWN, which this fault does not excuse.',
      write,
    );
  }
  if (told.outcome === 'failed' && REFUSALS.includes(told.code) && !(told.retryAfterMs! > 0)) {
    found.add('wrong-answer', `${told.code} came without retryAfterMs.`, write);
  }
  if (told.outcome === 'failed' && !told.retryable) {
    const excused = OWN_FAILURES[write.op.kind].concat(options.excusedCodes ?? []);
    if (!excused.includes(told.code)) {
      found.add('wrong-code', `A ${write.op.kind} got ${told.code}.`, write);
    }
  }
}

/** A row of `log`. */
interface LogRow {
  readonly pos: number;
  readonly tenant: string;
  readonly client: string;
  readonly n: number;
  readonly part: number;
  readonly kind: string;
  readonly source: number | null;
  readonly target: number | null;
  readonly amount: number | null;
  readonly register: number | null;
}

/** A job's ledger entry: its commit, and the outcomes of its writes so far. */
interface LedgerEntry {
  readonly commitSeq: number;
  readonly done: boolean;
  readonly results: readonly unknown[];
}

interface TenantContent {
  readonly rows: readonly LogRow[];
  readonly balances: ReadonlyMap<number, number>;
  readonly registers: ReadonlyMap<
    number,
    { readonly client: string | null; readonly n: number | null; readonly version: number }
  >;
  readonly commitSeq: number;
  readonly ledger: ReadonlyMap<string, LedgerEntry>;
  /** Commits of jobs that took several. */
  readonly noted: ReadonlySet<number>;
}

/** Undefined where the file cannot be read, or does not exist because nothing was ever committed. */
function readTenant(
  dataDir: string,
  tenant: string,
  writes: readonly Write[],
  found: Findings,
): TenantContent | undefined {
  let db: Database.Database | undefined;
  try {
    db = new Database(tenantFile(dataDir, tenant), { readonly: true, fileMustExist: true });
    checkDamage(db, tenant, found);
    checkIndex(db, tenant, found);
    const all = <Row>(sql: string) => db!.prepare(sql).all() as Row[];
    const state = db.prepare(NEWEST_COMMIT_SEQ_SQL).pluck().get() as number;
    return {
      rows: all<LogRow>('SELECT * FROM log ORDER BY pos'),
      balances: new Map(
        all<{ id: number; balance: number }>('SELECT * FROM accounts').map(({ id, balance }) => [
          id,
          balance,
        ]),
      ),
      registers: new Map(
        all<{ id: number; client: string | null; n: number | null; version: number }>(
          'SELECT * FROM registers',
        ).map(({ id, ...register }) => [id, register]),
      ),
      commitSeq: state,
      noted: new Set(
        all<{ seq: number }>(
          "SELECT json_extract(e.value, '$[0]') AS seq FROM sqlite_onewriter_keys k, json_each(k.result) e WHERE k.key LIKE 'commits of %'",
        ).map(({ seq }) => seq),
      ),
      ledger: new Map(
        all<{ job_id: string; commit_seq: number; next_op: number | null; results: string }>(
          'SELECT job_id, commit_seq, next_op, results FROM sqlite_onewriter_ledger',
        ).map(row => [
          row.job_id,
          { commitSeq: row.commit_seq, done: row.next_op === null, results: JSON.parse(row.results) },
        ]),
      ),
    };
  } catch (error) {
    const committed = writes.some(write => write.answers.some(({ outcome }) => outcome === 'committed'));
    if (committed || (error as { code?: string }).code !== 'SQLITE_CANTOPEN') {
      found.add('damaged', `The file cannot be read: ${(error as Error).message}`, { tenant });
    }
    return undefined;
  } finally {
    db?.close();
  }
}

function checkDamage(db: Database.Database, tenant: string, found: Findings): void {
  const integrity = db.pragma('integrity_check') as { integrity_check: string }[];
  if (integrity[0]?.integrity_check !== 'ok') {
    found.add('damaged', `integrity_check: ${integrity.map(row => row.integrity_check).join('; ')}`, {
      tenant,
    });
  }
  const foreignKeys = db.pragma('foreign_key_check') as unknown[];
  if (foreignKeys.length > 0) {
    found.add('damaged', `foreign_key_check: ${JSON.stringify(foreignKeys.slice(0, 5))}`, { tenant });
  }
}

/** A job that is delivered again must find its row, or it is applied again. */
function checkIndex(db: Database.Database, tenant: string, found: Findings): void {
  const find = db
    .prepare<[string], number>(`SELECT id FROM sqlite_onewriter_ledger WHERE ${LEDGER_ROW_OF_JOB}`)
    .pluck();
  const rows = db
    .prepare<[], { id: number; job_id: string }>('SELECT id, job_id FROM sqlite_onewriter_ledger')
    .all();
  for (const { id, job_id: job } of rows) {
    const foundId = find.get(job);
    if (foundId === id) continue;
    found.add('damaged', `Who looks for job ${job} finds row ${foundId} of the ledger, not ${id}.`, {
      tenant,
    });
  }
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

function compareTenant(
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
  const rowid = write.answers.flatMap(told =>
    told.outcome === 'committed' && !isWithin(told.at, options) ? [told.rowid] : [],
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
  const receiptIds = write.answers.flatMap(told =>
    told.outcome === 'unknown' && told.receiptId !== undefined ? [told.receiptId] : [],
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

function countOutcomes(
  writes: readonly Write[],
): Pick<Verdict['counts'], 'issued' | 'committed' | 'failed' | 'unknown' | 'unanswered'> {
  const failed: Record<string, number> = {};
  let [committed, unknown, unanswered] = [0, 0, 0];
  for (const { answers } of writes) {
    const last = answers.at(-1);
    if (last === undefined) unanswered++;
    else if (last.outcome === 'committed') committed++;
    else if (last.outcome === 'unknown') unknown++;
    else failed[last.code] = (failed[last.code] ?? 0) + 1;
  }
  return { issued: writes.length, committed, failed, unknown, unanswered };
}

function describe(write: Write): string {
  const answers = write.answers.map(told => (told.outcome === 'committed' ? 'committed' : told.code));
  return [
    write.op.kind,
    `sent at ${write.sentAt}`,
    answers.length === 0 ? 'unanswered' : `answered ${answers.join(', ')}`,
    ...(write.accepted ? [`accepted as ${write.accepted.receiptId}`] : []),
    ...(write.receipts.length > 0 ? [`receipt ${write.receipts.map(({ state }) => state).join(', ')}`] : []),
  ].join(', ');
}
