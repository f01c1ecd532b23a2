import {
  isOnewriterError,
  parseReceiptId,
  parseWriteJob,
  type WireOperationResult,
  type WireStatementOperation,
} from '@onewriter/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { JobAddress, JobState, JobStates } from '../settle/job-states.ts';
import { ABSENT, type LedgerAnswer, type LedgerReader } from '../settle/ledger.ts';
import { now } from '../waits.ts';
import { encodeStatement } from './encoded-write.ts';
import type { OutboundJob } from './outbound-job.ts';
import type { JobSender, SendOutcome } from './sender.ts';
import { WritePath } from './write-path.ts';

/*
 * The write path against a model of Redis, broker and ledger that fails in every way the real ones can: answers that
 * are lost, refusals, outages, a wiped queue, events that are lost, late, doubled or too large. Each run comes from a
 * seed. Afterwards the callers' answers are compared with the model's ledger.
 */

/** mulberry32: small, seeded, good enough. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const later = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));

interface QueuedJob {
  readonly id: string;
  readonly numbers: readonly number[];
  /** Redis has lost it, but a broker has it in memory. */
  lost: boolean;
}

class Model implements JobSender, JobStates, LedgerReader {
  readonly random: () => number;
  readonly ledger = new Map<string, { results: WireOperationResult[]; commitSeq: number }>();
  /** Numbers of the writes that were applied, per tenant, in order. */
  readonly applied = new Map<string, number[]>();
  readonly queues = new Map<string, QueuedJob[]>();
  readonly finished = new Set<string>();
  downSince: number | undefined;
  readonly maxQueueBytes = 1_000_000;
  emit: (event: Record<string, string>) => void = () => {};
  #commitSeq = 0;
  #inFlight = new Set<string>();

  constructor(seed: number) {
    this.random = randomOf(seed);
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  async send(job: OutboundJob): Promise<SendOutcome> {
    // The coalescer's promise: one job of a tenant at a time.
    expect(this.#inFlight.has(job.tenant)).toBe(false);
    this.#inFlight.add(job.tenant);
    const outcome = await this.#send(job);
    this.#inFlight.delete(job.tenant);
    return outcome;
  }

  async #send(job: OutboundJob): Promise<SendOutcome> {
    if (this.downSince !== undefined) return { kind: 'unsent', cause: new Error('down') };
    const message = String(job.message);
    await later(this.random() * 3);
    if (this.chance(0.05)) return { kind: 'unsent', cause: new Error('LOADING') };
    if (this.chance(0.02)) return { kind: 'refused', error: refusedError() };
    if (this.chance(0.02)) return { kind: 'overloaded', queuedBytes: 999_999 };
    if (this.chance(0.15)) {
      if (this.chance(0.5)) this.#accept(job.tenant, job.id, message);
      await later(this.random() * 20);
      return { kind: 'ambiguous', cause: new Error('connection lost') };
    }
    this.#accept(job.tenant, job.id, message);
    await later(this.random() * 3);
    return { kind: 'accepted', depth: this.queues.get(job.tenant)?.length ?? 0 };
  }

  async readyToRetry(): Promise<void> {
    await later(5);
    while (this.downSince !== undefined) await later(5);
  }

  async load(tenant: string): Promise<{ jobs: number; bytes: number }> {
    return { jobs: this.queues.get(tenant)?.length ?? 0, bytes: 0 };
  }

  refusal(): undefined {
    return undefined;
  }

  async withdraw(): Promise<boolean> {
    return false;
  }

  async answer(): Promise<undefined> {
    return undefined;
  }

  async look(jobs: unknown, notifyOrId: unknown): Promise<never> {
    return (Array.isArray(jobs) ? this.#states(jobs) : this.#answer(notifyOrId as string)) as never;
  }

  lookNow(_tenant: string, jobId: string): LedgerAnswer | undefined {
    return this.chance(0.2) ? undefined : this.#answer(jobId);
  }

  #answer(jobId: string): LedgerAnswer {
    const row = this.ledger.get(jobId);
    return row === undefined ? ABSENT : { kind: 'found', ...row };
  }

  async #states(jobs: readonly JobAddress[]): Promise<(JobState | undefined)[]> {
    await later(this.random() * 5);
    return jobs.map(({ tenant, id }) => {
      if (this.downSince !== undefined) return undefined;
      if (this.finished.has(id)) return 'finished';
      return this.queues.get(tenant)?.some(job => job.id === id && !job.lost) ? 'queued' : 'gone';
    });
  }

  /** As BullMQ: a job whose id is there is not added again. */
  #accept(tenant: string, id: string, message: string): void {
    const queue = this.queues.get(tenant) ?? [];
    this.queues.set(tenant, queue);
    if (this.finished.has(id) || queue.some(job => job.id === id && !job.lost)) return;
    const { ops } = parseWriteJob(message);
    const numbers = ops.map(op => ((op as WireStatementOperation).p as number[])[0]!);
    queue.push({ id, numbers, lost: false });
    setTimeout(() => this.#apply(tenant, id), this.random() * (this.chance(0.1) ? 4_000 : 30));
  }

  /** Applies everything up to this job, as the broker does: in order. */
  #apply(tenant: string, id: string): void {
    const queue = this.queues.get(tenant)!;
    while (queue.some(job => job.id === id)) {
      const job = queue.shift()!;
      if (!this.ledger.has(job.id)) {
        const results = job.numbers.map(number => (number % 7 === 0 ? failure() : ([1, number] as const)));
        const applied = this.applied.get(tenant) ?? [];
        this.applied.set(tenant, applied);
        applied.push(...job.numbers.filter(number => number % 7 !== 0));
        this.ledger.set(job.id, { results, commitSeq: ++this.#commitSeq });
      }
      this.finished.add(job.id);
      this.#announce(tenant, job.id);
    }
  }

  #announce(tenant: string, jobId: string): void {
    if (this.chance(0.2)) return;
    const { results, commitSeq } = this.ledger.get(jobId)!;
    const event = {
      v: this.chance(0.02) ? '99' : '1',
      jobId,
      tenant,
      commitSeq: String(commitSeq),
      results: this.chance(0.1) ? '' : JSON.stringify(results),
      error: '',
    };
    setTimeout(() => this.emit(event), this.random() * 10);
    if (this.chance(0.1)) setTimeout(() => this.emit(event), this.random() * 50);
  }

  /** Redis comes back empty. */
  wipe(): void {
    for (const queue of this.queues.values()) {
      for (const job of queue.splice(0)) if (this.chance(0.3)) queue.push({ ...job, lost: true });
    }
    this.finished.clear();
  }
}

const failure = (): WireOperationResult => ({ e: { code: 'CONSTRAINT_VIOLATION', message: 'seven' } });
const refusedError = () => {
  const error = new Error('OOM');
  return Object.assign(error, { code: 'QUEUE_FULL' }) as never;
};

interface Answer {
  readonly tenant: string;
  readonly number: number;
  readonly verdict: string;
  readonly receipt: string | undefined;
  readonly lateMs: number;
}

async function play(seed: number): Promise<{ answers: Answer[]; model: Model; path: WritePath }> {
  const model = new Model(seed);
  const silent = { warn: () => {}, error: () => {} };
  const path = new WritePath({
    clientId: 'c-test',
    sender: model,
    states: model,
    ledger: model,
    logger: silent,
    writeTimeoutMs: 8_000,
  });
  model.emit = event => path.settler.onEvent(event);
  const answers: Answer[] = [];
  const waits: Promise<void>[] = [];
  const issue = (tenant: string, number: number) => {
    const payload = encodeStatement({ sql: `INSERT ${number % 3}`, params: [number] }, {});
    const abort = model.chance(0.05) ? new AbortController() : undefined;
    if (abort) setTimeout(() => abort.abort(), model.random() * 100);
    const timeoutMs = model.chance(0.2) ? 20 + model.random() * 500 : 8_000;
    const due = now() + timeoutMs;
    const record = (verdict: string, receipt?: string) =>
      answers.push({ tenant, number, verdict, receipt, lateMs: now() - due });
    const waitsFor = model.chance(0.1) ? ('acceptance' as const) : ('commit' as const);
    waits.push(
      path.send(tenant, payload, waitsFor, { timeoutMs, signal: abort?.signal }).then(
        answer => void record(waitsFor === 'commit' ? 'committed' : 'accepted', answer.receipt),
        error => void record(error.code, isOnewriterError(error) ? error.details.receiptId : undefined),
      ),
    );
  };
  let number = 0;
  for (let step = 0; step < 60; step++) {
    const burst = 1 + Math.floor(model.random() * 5);
    for (let index = 0; index < burst; index++) issue(model.chance(0.6) ? 'a' : 'b', ++number);
    if (model.chance(0.05)) model.wipe();
    if (model.downSince === undefined && model.chance(0.04)) model.downSince = now();
    else if (model.downSince !== undefined && model.chance(0.2)) model.downSince = undefined;
    await vi.advanceTimersByTimeAsync(model.random() * 12);
  }
  model.downSince = undefined;
  await vi.advanceTimersByTimeAsync(30_000);
  await Promise.all(waits);
  expect(answers).toHaveLength(number);
  return { answers, model, path };
}

describe('the write path', () => {
  beforeEach(() => {
    vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
    });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const seeds = Array.from({ length: 150 }, (_, index) => index + 1);

  it.each(seeds)('gives every caller the true answer by its deadline, in order: seed %i', async seed => {
    const { answers, model, path } = await play(seed);
    for (const { tenant, number, verdict, lateMs, receipt } of answers) {
      const times = model.applied.get(tenant)?.filter(applied => applied === number).length ?? 0;
      expect(times, `write ${number} was applied`).toBeLessThanOrEqual(1);
      // Deadlines within 10 ms are looked through together.
      expect(lateMs, `write ${number} was answered late`).toBeLessThanOrEqual(15);
      if (verdict === 'committed') expect(times, `write ${number} was reported committed`).toBe(1);
      else if (verdict === 'OUTCOME_UNKNOWN' || verdict === 'accepted') {
        // Its receipt has the true outcome later.
        const { jobId, index } = parseReceiptId(receipt!);
        const result = model.ledger.get(jobId)?.results[index];
        expect(times).toBe(result === undefined || 'e' in result ? 0 : 1);
      } else expect(times, `write ${number} was reported ${verdict}`).toBe(0);
    }
    for (const [tenant, applied] of model.applied) {
      expect(applied, `order of ${tenant}`).toEqual([...applied].sort((a, b) => a - b));
    }
    expect(path.settler.jobs).toBe(0);
    expect(path.buffered).toBe(0);
    expect(path.heldBytes).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('meets every kind of answer in these runs', async () => {
    const verdicts = new Set<string>();
    for (const seed of seeds.slice(0, 40))
      for (const { verdict } of (await play(seed)).answers) verdicts.add(verdict);
    const all = [
      'committed',
      'accepted',
      'OUTCOME_UNKNOWN',
      'TIMEOUT',
      'ABORTED',
      'QUEUE_FULL',
      'TENANT_OVERLOADED',
      'CONSTRAINT_VIOLATION',
    ];
    expect([...verdicts]).toEqual(expect.arrayContaining(all));
  });
});
