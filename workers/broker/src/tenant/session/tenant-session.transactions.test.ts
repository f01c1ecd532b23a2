import { PROTOCOL_VERSION } from '@onewriter/protocol';
import type { ApplyOutcome, ApplyTask, JobOutcome } from '@onewriter/writer';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createRandom } from '../../../test-support/random.ts';
import { createModelServices, delay, FAKE_TIME, ModelQueue } from '../../../test-support/session-model.ts';
import type { Lane, LaneClient } from '../../lanes/lane.ts';
import type { FetchedJob, TenantQueue } from '../../queue/tenant-queue.ts';
import { type SessionContext, TenantSession } from './tenant-session.ts';

/*
 * One session whose tenant has clients with open transactions, against a model of Redis and of a thread; answers take a
 * random time and may be lost. Time is fake and the order comes from a seed.
 */

const LIMITS = { timeoutMs: 100, idleMs: 60, maxMs: 2_000 };

/** A job of the model. */
interface ModelJob {
  readonly v: number;
  readonly client: string;
  readonly ops: readonly object[];
  readonly does: 'write' | 'begin' | 'step' | 'commit' | 'rollback';
  readonly tx?: string | undefined;
}

/** A thread with one connection: a ledger, and at most one open transaction. */
class ModelThread {
  readonly applied: string[] = [];
  readonly ledger = new Set<string>();
  /** The jobs of each transaction that was committed. */
  readonly committed: string[][] = [];
  readonly bugs: string[] = [];
  open: { readonly id: string; readonly jobs: string[] } | undefined;
  busy = false;
  takenAway = 0;
  readonly #random: () => number;
  readonly #refusalRate: number;
  readonly #lane = {
    renew: () => {},
    rollback: (_: string, id: string) => {
      if (this.busy) this.bugs.push('rolled back in the middle of a task');
      if (this.open?.id === id) this.open = undefined;
      this.takenAway++;
    },
  };

  constructor(random: () => number, refusalRate: number) {
    this.#random = random;
    this.#refusalRate = refusalRate;
  }

  enqueue(client: LaneClient): void {
    client.lane = this.#lane as unknown as Lane;
    void this.#serve(client);
  }

  enqueueApart(client: LaneClient): void {
    this.enqueue(client);
  }

  async #serve(client: LaneClient): Promise<void> {
    await delay(this.#random() * 4);
    const task = client.nextTask(this.#random() < 0.5);
    if (task === undefined) return;
    if (this.#random() < 0.1) {
      client.onRevoked();
      void this.#serve(client);
      return;
    }
    if (this.busy) this.bugs.push('two tasks of a tenant at a time');
    this.busy = true;
    await delay(this.#random() * 5);
    this.busy = false;
    const fate = this.#random();
    if (fate < this.#refusalRate) {
      const known = task.jobs.some(({ id }) => this.ledger.has(id));
      this.open = undefined;
      client.onOutcome({
        kind: 'refused',
        error: { code: 'DATABASE_BUSY', message: 'busy' },
        uncertain: known || this.#random() < 0.5,
        begun: true,
        evicted: [],
      });
    } else if (fate < this.#refusalRate * 1.3) {
      if (this.#random() < 0.5) this.#apply(task);
      this.open = undefined;
      client.onFault(new Error('thread ended'), this.#random() < 0.8);
    } else client.onOutcome(this.#apply(task));
  }

  #apply(task: ApplyTask): ApplyOutcome {
    const jobs = task.jobs.map(job => this.#run(task, job.id, JSON.parse(job.data) as ModelJob));
    return {
      kind: 'applied',
      incarnation: '',
      jobs,
      evicted: [],
      open: this.open?.id,
      stats: { openMs: 0, applyMs: 0, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 1 },
    };
  }

  #run(task: ApplyTask, id: string, { client, does, tx }: ModelJob): JobOutcome {
    const outcome = { id, client, writes: 1, failures: 0, duplicate: false, commitSeq: 0, results: '' };
    if (this.ledger.has(id)) return { ...outcome, duplicate: true, results: 'committed' };
    if (does === 'write') {
      if (this.open !== undefined) this.bugs.push(`${id} was begun while a transaction was open`);
      this.ledger.add(id);
      this.applied.push(id);
      return { ...outcome, results: 'committed' };
    }
    if (task.transaction === undefined || task.jobs.length > 1) this.bugs.push(`${id} did not run alone`);
    if (does === 'begin') {
      if (this.open !== undefined) this.bugs.push(`${id} was begun while a transaction was open`);
      this.open = { id: task.transaction!.id, jobs: [id] };
      return { ...outcome, answer: this.open.id };
    }
    if (this.open?.id !== tx) return { ...outcome, answer: 'gone' };
    // Redelivered within its transaction: it is not run twice.
    if (this.open!.jobs.at(-1) !== id) this.open!.jobs.push(id);
    if (does === 'step') return { ...outcome, answer: this.open!.id };
    if (does === 'commit') {
      this.ledger.add(id);
      this.committed.push(this.open!.jobs);
    }
    this.open = undefined;
    return does === 'commit' ? { ...outcome, results: 'committed' } : { ...outcome, answer: 'rolled back' };
  }
}

interface World {
  readonly queue: ModelQueue;
  readonly thread: ModelThread;
  readonly session: TenantSession;
  readonly answers: Map<string, string>;
  readonly bugs: unknown[];
  /** Clients that ended. */
  readonly gone: Set<string>;
}

function createWorld(random: () => number, rates: { lossRate: number; refusalRate: number }): World {
  const queue = new ModelQueue(random, rates.lossRate);
  const thread = new ModelThread(random, rates.refusalRate);
  const answers = new Map<string, string>();
  const bugs: unknown[] = [];
  const gone = new Set<string>();
  const context = {
    ...createModelServices(random, bugs),
    lanes: thread,
    inbox: {
      async publish(
        settlements: readonly { jobId: string; results: string; answer?: string; error?: { code: string } }[],
      ) {
        for (const { jobId, results, answer, error } of settlements)
          answers.set(jobId, error?.code ?? answer ?? results);
        return true;
      },
    },
    presence: {
      async isHere(client: string) {
        await delay(random() * 5);
        return !gone.has(client);
      },
    },
    transactionLimits: LIMITS,
  };
  const session = new TenantSession(
    'acme',
    queue as unknown as TenantQueue,
    context as unknown as SessionContext,
  );
  return { queue, thread, session, answers, bugs, gone };
}

function createJob(id: string, does: ModelJob['does'], tx?: string | undefined, client = 'c-1'): FetchedJob {
  const head = `{"v":${PROTOCOL_VERSION},"client":"${client}","seq":1,"at":0${does === 'begin' ? ',"live":1' : ''}`;
  return { id, data: `${head},"sql":[],${JSON.stringify({ ops: [{}], does, tx }).slice(1)}` };
}

/** Sends a job and waits for its answer, notifying again when it is late, as the SDK does. */
async function send({ queue, session, answers }: World, job: FetchedJob): Promise<string> {
  if (job.id.startsWith('s-')) queue.wait.unshift(job);
  else queue.wait.push(job);
  for (let rounds = 0; rounds < 2_000; rounds++) {
    if (rounds % 100 === 0) session.notify();
    const answer = answers.get(job.id);
    if (answer !== undefined) return answer;
    await delay(5);
  }
  throw new Error(`${job.id} was never answered`);
}

/** A client with a transaction: some steps, some of them late, and an end, or none. */
async function transact(world: World, random: () => number, client: number): Promise<void> {
  const name = `c-${client}`;
  const transaction = await send(world, createJob(`b-${client}`, 'begin', undefined, name));
  if (!transaction.startsWith('t-')) return; // refused: nothing is open
  const jobs = [`b-${client}`];
  for (let step = 0; ; step++) {
    await delay(random() < 0.2 ? random() * 200 : random() * 10);
    if (random() < 0.1) {
      world.gone.add(name);
      return;
    }
    const does = random() < 0.6 ? 'step' : random() < 0.8 ? 'commit' : 'rollback';
    const id = `s-${client}-${step}`;
    const answer = await send(world, createJob(id, does, transaction, name));
    jobs.push(id);
    if (answer === 'committed') {
      const [whole] = world.thread.committed.filter(committed => committed.at(-1) === id);
      if (String(whole) !== String(jobs)) world.bugs.push(`${id}: committed ${whole}, sent ${jobs}`);
      return;
    }
    if (world.thread.ledger.has(id)) world.bugs.push(`${id} is committed, and was answered ${answer}`);
    if (answer !== transaction) return;
  }
}

async function write(world: World, random: () => number, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    world.queue.wait.push(createJob(`w-${index}`, 'write'));
    world.session.notify();
    await delay(random() < 0.1 ? random() * 300 : random() * 8);
  }
}

/** Runs fake time until `work` is done and the session sleeps. */
async function settle(world: World, work: Promise<unknown>): Promise<void> {
  let done = false;
  const failed = work
    .catch(error => world.bugs.push(error))
    .finally(() => {
      done = true;
    });
  for (let rounds = 0; rounds < 4_000; rounds++) {
    await vi.advanceTimersByTimeAsync(50);
    void world.session.finishAnswered();
    if (done && world.session.asleep && world.queue.wait.length === 0) return void (await failed);
  }
  throw new Error('The session never came to rest.');
}

beforeEach(() => void vi.useFakeTimers(FAKE_TIME));
afterEach(() => {
  vi.useRealTimers();
});

describe('a tenant’s session with open transactions', () => {
  it('keeps them whole and apart from other writes, whatever is lost and refused, in 400 interleavings', async () => {
    let committed = 0;
    let takenAway = 0;
    for (let seed = 1; seed <= 400; seed++) {
      const random = createRandom(seed);
      const quiet = seed % 3 === 0;
      const world = createWorld(random, {
        lossRate: quiet ? 0 : random() * 0.2,
        refusalRate: quiet ? 0 : random() * 0.15,
      });
      const writes = Math.floor(random() * 30);
      const clients = 1 + Math.floor(random() * 4);
      await settle(
        world,
        Promise.all([
          write(world, random, writes),
          ...Array.from({ length: clients }, (_, client) => transact(world, random, client)),
        ]),
      );
      const where = `seed ${seed}`;
      expect(world.bugs, where).toEqual([]);
      expect(world.thread.bugs, where).toEqual([]);
      expect(world.queue.active, where).toEqual([]);
      const numbers = world.thread.applied.map(id => Number(id.slice(2)));
      expect(numbers, where).toEqual([...numbers].sort((a, b) => a - b));
      expect(new Set(numbers).size, where).toBe(numbers.length);
      for (let index = 0; index < writes; index++) {
        const answer = world.answers.get(`w-${index}`);
        expect(answer === 'committed', `${where}: w-${index} was answered ${answer}`).toBe(
          world.thread.ledger.has(`w-${index}`),
        );
      }
      expect(world.session.openTransaction, where).toBeUndefined();
      committed += world.thread.committed.length;
      takenAway += world.thread.takenAway;
    }
    // Both happen, often enough to mean something.
    expect(committed).toBeGreaterThan(100);
    expect(takenAway).toBeGreaterThan(50);
  }, 120_000);

  it('lets one continue as long as no other caller waits, and up to the absolute limit', async () => {
    const world = createWorld(createRandom(1), { lossRate: 0, refusalRate: 0 });
    const begun = send(world, createJob('b-0', 'begin'));
    await vi.advanceTimersByTimeAsync(50);
    const transaction = await begun;
    expect(world.session.openTransaction).toMatchObject({ id: transaction, client: 'c-1' });
    await vi.advanceTimersByTimeAsync(LIMITS.maxMs / 2);
    expect(world.session.openTransaction?.id).toBe(transaction);
    expect(world.session.asleep).toBe(false);
    await vi.advanceTimersByTimeAsync(LIMITS.maxMs);
    expect(world.session.openTransaction).toBeUndefined();
    expect(world.thread.open).toBeUndefined();
    expect(world.session.asleep).toBe(true);
  });

  it('requeues jobs fetched ahead, so that their sender can withdraw them', async () => {
    const world = createWorld(createRandom(1), { lossRate: 0, refusalRate: 0 });
    world.queue.wait.push(createJob('b-0', 'begin'), createJob('b-1', 'begin'), createJob('w-0', 'write'));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(40);
    expect(world.session.openTransaction).toBeDefined();
    expect(world.queue.wait.map(job => job.id)).toEqual(['b-1', 'w-0']);
    expect(world.session.held).toBe(0);
  });

  it('begins none for clients that are gone, and ends theirs that is open', async () => {
    const limits = { ...LIMITS };
    Object.assign(LIMITS, { timeoutMs: 5_000, idleMs: 10_000, maxMs: 60_000 });
    onTestFinished(() => void Object.assign(LIMITS, limits));
    const world = createWorld(createRandom(1), { lossRate: 0, refusalRate: 0 });
    world.queue.wait.push(...[0, 1, 2, 3].map(n => createJob(`b-${n}`, 'begin', undefined, 'c-dead')));
    world.queue.wait.push(createJob('b-4', 'begin', undefined, 'c-alive'));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(100);
    expect(world.session.openTransaction).toMatchObject({ client: 'c-dead' });
    world.gone.add('c-dead');
    await vi.advanceTimersByTimeAsync(1_200);
    expect(world.session.openTransaction).toMatchObject({ client: 'c-alive' });
    expect(['b-1', 'b-2', 'b-3'].map(id => world.answers.get(id))).toEqual(Array(3).fill('TRANSACTION_BUSY'));
    expect([world.thread.takenAway, world.bugs]).toEqual([1, []]);
    // Others wait for more than a second, and it stays.
    world.queue.wait.push(createJob('w-0', 'write'));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(3_000);
    expect(world.session.openTransaction).toMatchObject({ client: 'c-alive' });
  });

  it('does not wait for one when it drains', async () => {
    const world = createWorld(createRandom(1), { lossRate: 0, refusalRate: 0 });
    const begun = send(world, createJob('b-0', 'begin'));
    await vi.advanceTimersByTimeAsync(20);
    await begun;
    world.queue.wait.push(createJob('w-0', 'write'));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(20);
    const draining = world.session.drain();
    await vi.advanceTimersByTimeAsync(20);
    await draining;
    // A caller waits: its notification is sent to the successor.
    expect(world.session.mayHaveMore).toBe(true);
    expect(world.queue.wait.map(job => job.id)).toEqual(['w-0']);
  });
});
