import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { isOnewriterError } from '@onewriter/protocol';
import { connect, type Onewriter, type Tenant } from '@onewriter/sdk';
import { createRandom } from '@onewriter/testkit';
import type { ClientOrder, ClientReport, ClientSettings } from './client-settings.ts';
import { GatewayWriter } from './gateway-writer.ts';
import { type EntryOf, type GivenAnswer, JournalWriter, monotonicMs } from './journal.ts';
import { drawOperation, type Operation, scriptOf, statementsOf } from './operation.ts';
import { answerOf } from './outcome.ts';
import { Slots } from './slots.ts';
import { Starvation } from './starvation.ts';
import { commitOpen, commitSteps } from './transactions.ts';

/*
 * A client process: writes what its seed makes it write, keeps a journal, and ends when its parent says so. It is an app
 * process like any other: it knows nothing of the faults, and never retries a write without an idempotency key.
 */

/** After a refusal, so that a refusing queue is not asked thousands of times. */
const REFUSED_PAUSE_MS = 25;
const MAX_ATTEMPTS = 6;
const MAX_ASKED_AT_ONCE = 200;

class Client {
  readonly #settings: ClientSettings;
  readonly #onewriter: Onewriter;
  readonly #gateway: GatewayWriter;
  readonly #journal: JournalWriter;
  readonly #tenants: readonly Tenant[];
  readonly #underWay: Slots;
  readonly #starvation: Starvation;
  /** Receipts to ask at the end: by write. */
  readonly #unknown = new Map<number, { readonly tenant: Tenant; readonly receiptId: string }>();
  #n = 0;
  #finishing = false;
  #refusedUntil = 0;
  committed = 0;

  constructor(settings: ClientSettings, onewriter: Onewriter, journal: JournalWriter) {
    this.#settings = settings;
    this.#onewriter = onewriter;
    this.#journal = journal;
    this.#gateway = new GatewayWriter(settings);
    this.#starvation = new Starvation(() => journal.spentMs);
    this.#underWay = new Slots(settings.concurrency);
    this.#tenants = settings.tenants.map(id => onewriter.tenant(id));
  }

  /** Issues writes until {@link finish}. */
  async run(): Promise<void> {
    const { seed, pauseMs, mix, client, via, reads } = this.#settings;
    const random = createRandom(seed);
    if (via === 'gateway') await this.#gateway.warmUp();
    while (!this.#finishing) {
      await this.#underWay.free();
      const waitMs = Math.max(this.#refusedUntil - monotonicMs(), random.integer(2 * pauseMs + 1));
      // Never without a turn of the event loop: nothing could be sent.
      await (waitMs >= 1 ? pause(waitMs) : nextTurn());
      // Several at once now and then, so that writes share jobs.
      for (let burst = random.oneIn(8) ? random.between(2, 24) : 1; burst > 0 && !this.#finishing; burst--) {
        const n = ++this.#n;
        const tenant = random.pick(this.#tenants);
        const operation = drawOperation(random, mix, tenant.id, client, n, via);
        const timeoutMs = random.between(...this.#settings.timeoutMs);
        const read = random.oneIn(reads === 'owner' ? 2 : 16);
        this.#underWay.take();
        void this.#write(n, tenant, operation, timeoutMs, read)
          .catch(die)
          .finally(() => this.#underWay.giveBack());
      }
    }
  }

  async finish(askMs: number): Promise<void> {
    this.#finishing = true;
    await this.#underWay.allFree();
    const due = monotonicMs() + askMs;
    const slots = new Slots(MAX_ASKED_AT_ONCE);
    for (const [n, { tenant, receiptId }] of this.#unknown) {
      await slots.free();
      slots.take();
      void this.#ask(n, tenant, receiptId, due)
        .catch(die)
        .finally(() => slots.giveBack());
    }
    await slots.allFree();
    this.#journal.write({ k: 'end', at: monotonicMs() });
    this.#journal.close();
    await this.#onewriter.close();
  }

  async #write(n: number, tenant: Tenant, op: Operation, timeoutMs: number, read: boolean): Promise<void> {
    let sentAt = monotonicMs();
    this.#journal.write({ k: 'issue', n, tenant: tenant.id, op, timeoutMs, at: sentAt });
    let answer = await this.#attempt(n, tenant, op, timeoutMs);
    this.#noteAnswer(n, tenant, answer, sentAt + timeoutMs);
    if (op.kind === 'keyed' && this.#settings.via === 'sdk') {
      for (let attempt = 2; attempt <= MAX_ATTEMPTS && mayTryAgain(answer) && !this.#finishing; attempt++) {
        await pause(answer.outcome === 'failed' ? Math.min(answer.retryAfterMs ?? 100, 500) : 0);
        sentAt = monotonicMs();
        this.#journal.write({ k: 'again', n, timeoutMs, at: sentAt });
        answer = await this.#attempt(n, tenant, op, timeoutMs);
        this.#noteAnswer(n, tenant, answer, sentAt + timeoutMs);
      }
    }
    if (answer.outcome === 'committed') this.committed++;
    if (read && answer.outcome === 'committed' && op.kind !== 'bad') await this.#read(n, tenant);
  }

  #noteAnswer(n: number, tenant: Tenant, answer: GivenAnswer, dueAt: number): void {
    const at = monotonicMs();
    const starvedMs = at > dueAt ? this.#starvation.since(dueAt) : undefined;
    this.#journal.write({ k: 'answered', n, at, starvedMs, ...answer });
    if (answer.outcome === 'unknown' && answer.receiptId !== undefined) {
      this.#unknown.set(n, { tenant, receiptId: answer.receiptId });
    }
    if (answer.outcome === 'failed' && answer.retryable) {
      const waitMs = Math.min(answer.retryAfterMs ?? REFUSED_PAUSE_MS, 200);
      this.#refusedUntil = Math.max(this.#refusedUntil, monotonicMs() + waitMs);
    }
  }

  async #attempt(n: number, tenant: Tenant, op: Operation, timeoutMs: number): Promise<GivenAnswer> {
    const { client, via } = this.#settings;
    const statements = statementsOf(op, tenant.id, client, n);
    if (via === 'gateway') return this.#gateway.write(tenant.id, statements, timeoutMs);
    try {
      if (op.kind === 'enqueue') return await this.#enqueue(n, tenant, op, timeoutMs);
      if (op.kind === 'append' && op.by === 'script') {
        const script = scriptOf(op.parts, tenant.id, client, n);
        const { commitSeq } = await tenant.exec(script, { timeoutMs });
        return { outcome: 'committed', commitSeq };
      }
      if (op.kind === 'steps' || op.kind === 'open') {
        const commit = op.kind === 'open' ? commitOpen : commitSteps;
        return await commit(tenant, statements, timeoutMs, op.thinkMs);
      }
      if (statements.length > 1) {
        const results = await tenant.transaction(statements, { timeoutMs });
        return { outcome: 'committed', commitSeq: results[0]!.commitSeq };
      }
      const { sql, params } = statements[0]!;
      const idempotencyKey = op.kind === 'keyed' ? op.key : undefined;
      const result = await tenant.prepare(sql, { timeoutMs, idempotencyKey }).run(...params);
      // The answer to a write with a key may be that of an earlier attempt.
      return {
        outcome: 'committed',
        commitSeq: op.kind === 'keyed' ? undefined : result.commitSeq,
        rowid: Number(result.lastInsertRowid),
      };
    } catch (error) {
      return answerOf(error);
    }
  }

  async #enqueue(n: number, tenant: Tenant, op: Operation, timeoutMs: number): Promise<GivenAnswer> {
    const due = monotonicMs() + timeoutMs;
    const { sql, params } = statementsOf(op, tenant.id, this.#settings.client, n)[0]!;
    const receipt = await tenant.enqueue(sql, params, { timeoutMs });
    this.#journal.write({ k: 'accepted', n, receiptId: receipt.id, at: monotonicMs() });
    try {
      const outcome = await receipt.committed({ timeoutMs: Math.max(1, Math.ceil(due - monotonicMs())) });
      return {
        outcome: 'committed',
        commitSeq: outcome.commitSeq,
        rowid: Number(outcome.lastInsertRowid),
      };
    } catch (error) {
      const answer = answerOf(error);
      // Not known yet, or lost with the queue: the receipt is asked again at the end.
      const lost = answer.outcome === 'failed' && answer.code === 'RECEIPT_NOT_FOUND';
      return lost ? { outcome: 'unknown', code: answer.code, receiptId: receipt.id } : answer;
    }
  }

  /** A read after a write that was reported committed sees it. */
  async #read(n: number, tenant: Tenant): Promise<void> {
    try {
      const row = await tenant
        .prepare('SELECT 1 FROM log WHERE client = ? AND n = ?')
        .get(this.#settings.client, n);
      this.#journal.write({ k: 'read', n, seen: row !== undefined, at: monotonicMs() });
    } catch (error) {
      answerOf(error); // a fault may keep us from reading; then nothing is known
    }
  }

  async #ask(n: number, tenant: Tenant, receiptId: string, due: number): Promise<void> {
    let entry: Omit<EntryOf<'receipt'>, 'k' | 'n' | 'at'>;
    const receipt = tenant.receipt(receiptId);
    for (;;) {
      const timeoutMs = Math.max(1, Math.ceil(due - monotonicMs()));
      try {
        const { commitSeq } = await receipt.committed({ timeoutMs });
        entry = { state: 'committed', commitSeq };
        break;
      } catch (error) {
        const answer = answerOf(error);
        const code = answer.outcome === 'committed' ? '' : answer.code;
        if (isSetAside(error)) entry = { state: 'unknown', code };
        else if (code === 'OUTCOME_UNKNOWN') entry = { state: 'pending', code };
        else if (code === 'RECEIPT_NOT_FOUND') entry = { state: 'unknown', code };
        else if (CANNOT_ASK.has(code)) entry = { state: 'pending', code };
        else entry = { state: 'failed', code };
        if (entry.state !== 'pending' || monotonicMs() >= due) break;
        await pause(100);
      }
    }
    this.#journal.write({ k: 'receipt', n, at: monotonicMs(), ...entry });
  }
}

/** These speak of the asking, not of the write. */
const CANNOT_ASK: ReadonlySet<string> = new Set([
  'QUEUE_UNAVAILABLE',
  'DATABASE_BUSY',
  'DATABASE_IO_ERROR',
  'TENANT_NOT_FOUND',
  'BROKER_UNAVAILABLE',
]);

function mayTryAgain(answer: GivenAnswer): boolean {
  return answer.outcome === 'unknown' || (answer.outcome === 'failed' && answer.retryable);
}

/** A fault of this program itself. */
function die(error: unknown): never {
  process.stderr.write(`${String((error as Error)?.stack ?? error)}\n`);
  process.exit(1);
}

const settings = JSON.parse(process.argv[2]!) as ClientSettings;
const report = (message: ClientReport) => process.send?.(message);
const journal = new JournalWriter(settings.journal);
journal.write({ k: 'client', client: settings.client, via: settings.via, at: monotonicMs() });
const { redisUrl, dataDir, gatewayUrl, token, reads } = settings;
const onewriter = await connect({
  redis: redisUrl,
  ...(reads === undefined ? { dataDir } : { reads }),
  ...(gatewayUrl === '' ? {} : { gatewayUrl, token }),
});
const client = new Client(settings, onewriter, journal);
const progress = setInterval(() => {
  report({ type: 'progress', committed: client.committed, rssBytes: process.memoryUsage.rss() });
}, 250);
process.on('message', (order: ClientOrder) => {
  client
    .finish(order.askMs)
    .then(() => {
      clearInterval(progress);
      process.disconnect();
    })
    .catch(die);
});
// It is of no use without its parent.
process.on('disconnect', () => {
  if (process.exitCode === undefined) setImmediate(() => process.exit(0));
});
report({ type: 'ready' });
await client.run().catch(die);

/** A job out of an old snapshot of Redis: whether it was applied before nothing can say, and it will not be now. */
function isSetAside(error: unknown): boolean {
  return isOnewriterError(error, 'OUTCOME_UNKNOWN') && error.details.reason === 'set aside';
}
