import { PROTOCOL_VERSION } from '@onewriter/protocol';
import type { ApplyOutcome, ApplyTask, JobOutcome } from '@onewriter/writer';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createRandom } from '../../../test-support/random.ts';
import {
  createModelServices,
  delay,
  FAKE_TIME,
  ModelDoorbell,
  ModelQueue,
} from '../../../test-support/session-model.ts';
import { type JobMemory, type MemoryWaiter, SHARE_BYTES } from '../../lanes/job-memory.ts';
import type { Lane, LaneClient } from '../../lanes/lane.ts';
import { TenantLoads } from '../../observe/status/tenant-load.ts';
import type { InboxEvents } from '../../queue/inbox-events.ts';
import type { RedisLink } from '../../queue/redis-link.ts';
import type { FetchedJob, TenantQueue } from '../../queue/tenant-queue.ts';
import { type SessionContext, TenantSession } from './tenant-session.ts';

/*
 * One session against a model of Redis and of a thread, in which every answer takes a random time and any may be lost,
 * before or after the command was executed.
 */

/** A thread with a ledger; refuses batches, and ends, at the given rates. */
class ModelLanes {
  readonly applied: string[] = [];
  readonly ledger = new Set<string>();
  batches = 0;
  busy = false;
  dead = false;
  #running: ApplyTask | undefined;
  /** How often the file has seen a newer epoch. */
  fenceRate = 0;
  readonly #random: () => number;
  readonly #refusalRate: number;

  constructor(random: () => number, refusalRate: number) {
    this.#random = random;
    this.#refusalRate = refusalRate;
  }

  enqueue(client: LaneClient): void {
    void this.#serve(client);
  }

  enqueueApart(client: LaneClient): void {
    this.enqueue(client);
  }

  /** The process ends, before or after the commit of the batch in the thread. */
  die(): void {
    this.dead = true;
    if (this.#running !== undefined && this.#random() < 0.5) this.#commit(this.#running);
  }

  async #serve(client: LaneClient): Promise<void> {
    await delay(this.#random() * 4);
    if (this.dead) return;
    const task = client.nextTask(this.#random() < 0.5);
    if (task === undefined) return;
    if (this.#random() < 0.1) {
      client.onRevoked();
      void this.#serve(client);
      return;
    }
    if (this.busy) throw new Error('two batches of a tenant at a time');
    this.busy = true;
    this.batches++;
    this.#running = task;
    await delay(this.#random() * 5);
    if (this.dead) return;
    this.busy = false;
    this.#running = undefined;
    const fate = this.#random();
    // As the writer: certain only where the ledger knows none of the jobs.
    const known = task.jobs.some(({ id }) => this.ledger.has(id));
    // The file cannot be opened: its ledger could not be asked.
    if (this.#random() < this.fenceRate) {
      // Ranges of the batch may be committed before one is refused.
      const some = this.#random() < 0.2;
      if (some) this.#commit({ ...task, jobs: task.jobs.slice(0, 1) });
      client.onOutcome(refuse(known || some, true, 'FENCED'));
    } else if (fate < this.#refusalRate / 2) client.onOutcome(refuse(true, false));
    else if (fate < this.#refusalRate) client.onOutcome(refuse(known || this.#random() < 0.5));
    else if (fate < this.#refusalRate * 1.3) {
      // The thread ends before or after its commit.
      if (this.#random() < 0.5) this.#commit(task);
      client.onFault(new Error('thread ended'), this.#random() < 0.8);
    } else client.onOutcome(this.#commit(task));
  }

  #commit({ jobs }: ApplyTask): ApplyOutcome {
    const outcomes = jobs.map(({ id }): JobOutcome => {
      const duplicate = this.ledger.has(id);
      if (!duplicate) this.applied.push(id);
      this.ledger.add(id);
      return { id, client: 'c-1', writes: 1, failures: 0, duplicate, commitSeq: 1, results: '[[1,0]]' };
    });
    return {
      kind: 'applied',
      incarnation: '',
      jobs: outcomes,
      evicted: [],
      stats: { openMs: 0, applyMs: 0, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 1 },
    };
  }
}

function refuse(uncertain: boolean, begun = true, code = 'DATABASE_BUSY'): ApplyOutcome {
  return {
    kind: 'refused',
    error: { code, message: 'no' },
    uncertain,
    begun,
    evicted: [],
  };
}

interface Rates {
  readonly lossRate: number;
  readonly refusalRate: number;
  readonly fenceRate?: number | undefined;
}

interface World {
  readonly doorbell: ModelDoorbell;
  fetchesAtNotification: number;
  readonly queue: ModelQueue;
  readonly lanes: ModelLanes;
  readonly session: TenantSession;
  readonly answers: Map<string, string>;
  readonly inbox: Pick<InboxEvents, 'publish'>;
  readonly bugs: unknown[];
  readonly parked: Set<string>;
  readonly memory: JobMemory;
}

/** Other tenants, which repeatedly have all of the memory, and release it. */
async function compete(memory: JobMemory, random: () => number): Promise<never> {
  for (;;) {
    const other: MemoryWaiter = {
      overtakesAt: random() < 0.5 ? 0 : undefined,
      onMemory: grant => void delay(random() * 10).then(() => grant.release()),
    };
    const size = random() < 0.5 ? SHARE_BYTES : memory.limit / 2;
    const grant = memory.request(other, size, size);
    if (grant !== undefined) other.onMemory(grant);
    await delay(random() * 15);
  }
}

function createWorld(random: () => number, rates: Rates): World {
  const doorbell = new ModelDoorbell();
  const queue = new ModelQueue(random, rates.lossRate);
  const lanes = new ModelLanes(random, rates.refusalRate);
  queue.fenceRate = lanes.fenceRate = rates.fenceRate ?? 0;
  const answers = new Map<string, string>();
  const bugs: unknown[] = [];
  const parked = new Set<string>();
  const services = createModelServices(random, bugs);
  const { memory } = services;
  const context = {
    ...services,
    lanes,
    inbox: {
      async publish(settlements: readonly { jobId: string; error?: { code: string } | undefined }[]) {
        await delay(random() * 5);
        if (queue.dead) return false;
        for (const { jobId, error } of settlements) {
          const answer = error === undefined ? 'committed' : error.code;
          const before = answers.get(jobId);
          if (before !== undefined && before !== answer) bugs.push(`${jobId}: ${before}, then ${answer}`);
          answers.set(jobId, answer);
        }
        return random() >= rates.lossRate;
      },
    },
    presence: { isHere: async () => true },
    parked: {
      park: (tenant: string) => parked.add(tenant),
      release: (tenant: string) => parked.delete(tenant),
    },
    loads: new TenantLoads(),
  };
  const session = new TenantSession(
    'acme',
    queue as unknown as TenantQueue,
    context as unknown as SessionContext,
  );
  return {
    doorbell,
    fetchesAtNotification: 0,
    queue,
    lanes,
    session,
    answers,
    inbox: context.inbox,
    bugs,
    parked,
    memory,
  };
}

/** The broker dies at any point; the next has the state in Redis and in the file. */
function succeed(dead: World, random: () => number, rates: Rates): World {
  dead.queue.dead = true;
  dead.lanes.die();
  const world = createWorld(random, rates);
  world.queue.wait = dead.queue.wait;
  world.queue.active = dead.queue.active;
  world.queue.doubtUntil = dead.queue.doubtUntil;
  world.queue.finished.push(...dead.queue.finished);
  world.queue.failed.push(...dead.queue.failed);
  world.lanes.applied.push(...dead.lanes.applied);
  for (const id of dead.lanes.ledger) world.lanes.ledger.add(id);
  for (const [id, answer] of dead.answers) world.answers.set(id, answer);
  world.bugs.push(...dead.bugs);
  return world;
}

/** @param padding characters that make it larger */
function createJob(index: number, unawaited: boolean, padding = 0): FetchedJob {
  const message = {
    v: PROTOCOL_VERSION,
    client: 'c-1',
    seq: index,
    at: 0,
    sql: ['x'.repeat(1 + padding)],
    ops: [unawaited ? { s: 0, d: 1 } : { s: 0 }],
  };
  return { id: `w-${index}`, data: JSON.stringify(message) };
}

/** Adds jobs at random times, each followed by its notification. */
async function produce(world: World, random: () => number, count: number, first = 0): Promise<void> {
  for (let index = first; index < first + count; index++) {
    // Some are larger than the least share of the memory, and some than half of all of it.
    const padding = random() < 0.1 ? 40_000 + random() * 100_000 : 0;
    world.queue.wait.push(createJob(index, random() < 0.5, padding));
    world.doorbell.ring();
    if (random() < 0.1) void world.session.finishAnswered();
    // The sweep found active jobs, and did not know that it woke up.
    if (random() < 0.02) world.session.reclaim().catch(error => world.bugs.push(error));
    // Now and then longer than a batch is tried.
    if (random() < 0.4) await delay(random() < 0.05 ? 1_000 : random() * 8);
  }
}

/** Listens as the doorbell does; with frequent notifications, jobs are mostly fetched together with them. */
async function listen(world: World, random: () => number): Promise<never> {
  for (let regular = false; ; ) {
    const link = world.doorbell as unknown as RedisLink;
    const expected = regular && random() < 0.8;
    if (expected && random() < 0.9) await world.session.untilFetched();
    const fetching = expected ? world.session.fetchAtNotification(link) : undefined;
    regular = await world.doorbell.wait();
    await delay(random() * 2);
    await fetching;
    if (fetching !== undefined) world.fetchesAtNotification++;
    else if (regular) world.session.notify();
  }
}

/** Runs fake time until `work` is done. */
async function pass(work: Promise<void>): Promise<void> {
  let done = false;
  void work.finally(() => {
    done = true;
  });
  while (!done) await vi.advanceTimersByTimeAsync(50);
}

/** Runs fake time until the session sleeps. */
async function settle(world: World): Promise<void> {
  for (let rounds = 0; rounds < 400; rounds++) {
    await vi.advanceTimersByTimeAsync(500);
    void world.session.finishAnswered();
    if (world.session.asleep && world.queue.wait.length === 0) return;
  }
  throw new Error('The session never came to rest.');
}

/** The jobs of these tests have no time of adding. */
const ANY_TIME = Number.POSITIVE_INFINITY;

const inOrder = (ids: readonly string[]) => [...ids].sort((a, b) => Number(a.slice(2)) - Number(b.slice(2)));

beforeEach(() => void vi.useFakeTimers(FAKE_TIME));
afterEach(() => {
  vi.useRealTimers();
});

describe('a tenant’s session', () => {
  it('applies every job once and in order, whatever is lost and refused, in 1,500 interleavings', async () => {
    let fetchesAtNotification = 0;
    for (let seed = 1; seed <= 1_500; seed++) {
      const random = createRandom(seed);
      const quiet = seed % 3 === 0;
      const world = createWorld(random, {
        lossRate: quiet ? 0 : random() * 0.3,
        refusalRate: quiet ? 0 : random() * 0.3,
        fenceRate: quiet ? 0 : random() * 0.2,
      });
      const count = 1 + Math.floor(random() * 60);
      void listen(world, random);
      if (seed % 2 === 0) void compete(world.memory, random);
      await pass(produce(world, random, count));
      await settle(world);
      const where = `seed ${seed}`;
      if (seed % 2 === 1) expect(world.memory.used, where).toBe(0);
      expect(world.bugs, where).toEqual([]);
      expect(world.queue.active, where).toEqual([]);
      expect(world.lanes.applied, where).toEqual(inOrder(world.lanes.applied));
      expect(new Set([...world.lanes.applied, ...world.queue.failed]).size, where).toBe(count);
      for (const [id, answer] of world.answers) {
        expect(answer === 'committed', `${where}: ${id} was answered ${answer}`).toBe(
          world.lanes.ledger.has(id),
        );
      }
      expect(world.answers.size, where).toBe(count);
      if (quiet) expect(world.queue.failed, where).toEqual([]);
      fetchesAtNotification += world.fetchesAtNotification;
      vi.clearAllTimers();
    }
    expect(fetchesAtNotification).toBeGreaterThan(3_500);
  }, 120_000);

  it('keeps the order through deaths of the broker in the middle of anything, in 300 interleavings', async () => {
    let reclaimed = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const random = createRandom(seed);
      const rates = { lossRate: random() * 0.2, refusalRate: random() * 0.2, fenceRate: random() * 0.2 };
      let world = createWorld(random, rates);
      let count = 0;
      for (let life = 1 + Math.floor(random() * 4); life > 0; life--) {
        void listen(world, random);
        if (seed % 2 === 0) void compete(world.memory, random);
        const more = 1 + Math.floor(random() * 20);
        await pass(produce(world, random, more, count));
        count += more;
        if (life === 1) break;
        world = succeed(world, random, rates);
        reclaimed += world.queue.active.length;
        const { session, bugs } = world;
        session.reclaim().catch(error => bugs.push(error));
      }
      await settle(world);
      const where = `seed ${seed}`;
      if (seed % 2 === 1) expect(world.memory.used, where).toBe(0);
      expect(world.bugs, where).toEqual([]);
      expect(world.queue.active, where).toEqual([]);
      expect(world.lanes.applied, where).toEqual(inOrder(world.lanes.applied));
      expect(new Set([...world.lanes.applied, ...world.queue.failed]).size, where).toBe(count);
      for (const [id, answer] of world.answers) {
        expect(answer === 'committed', `${where}: ${id} was answered ${answer}`).toBe(
          world.lanes.ledger.has(id),
        );
      }
      vi.clearAllTimers();
    }
    expect(reclaimed).toBeGreaterThan(300);
  }, 120_000);

  it('keeps jobs that no caller waits for until the file accepts them', async () => {
    const random = createRandom(7);
    const world = createWorld(random, { lossRate: 0, refusalRate: 0 });
    let refusing = true;
    const { onOutcome } = world.session;
    world.session.onOutcome = function (outcome) {
      onOutcome.call(this, refusing ? refuse(false) : outcome);
    };
    world.queue.wait.push(createJob(0, true), createJob(1, false), createJob(2, true));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(world.parked).toEqual(new Set(['acme']));
    expect(world.queue.failed).toEqual(['w-1']);
    expect(world.answers).toEqual(new Map([['w-1', 'DATABASE_BUSY']]));
    refusing = false;
    await settle(world);
    expect(world.queue.finished).toEqual(['w-0', 'w-2']);
    expect(world.parked.size).toBe(0);
  });

  it('leaves a job of an unknown version in its place, and answers callers behind it', async () => {
    const world = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    const { data } = createJob(1, true);
    const foreign = {
      id: 'w-1',
      data: data.replace(`"v":${PROTOCOL_VERSION}`, `"v":${PROTOCOL_VERSION + 1}`),
    };
    world.queue.wait.push(createJob(0, false), foreign, createJob(2, true), createJob(3, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(500);
    expect(world.lanes.applied).toEqual(['w-0']);
    expect(Object.fromEntries(world.answers)).toEqual({ 'w-0': 'committed', 'w-3': 'TENANT_UNAVAILABLE' });
    expect([...world.parked]).toEqual(['acme']);
    expect([world.queue.failed, world.queue.active.map(({ id }) => id)]).toEqual([['w-3'], ['w-1', 'w-2']]);
    // Also one that comes much later.
    await vi.advanceTimersByTimeAsync(60_000);
    world.queue.wait.push(createJob(4, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(100);
    expect(world.answers.get('w-4')).toBe('TENANT_UNAVAILABLE');
    await pass(world.session.drain());
    await pass(world.session.requeue().then(() => {}));
    expect(world.queue.wait.map(({ id }) => id)).toEqual(['w-1', 'w-2']);
    // The next broker knows it.
    const successor = createWorld(createRandom(8), { lossRate: 0, refusalRate: 0 });
    successor.queue.wait.push({ id: 'w-1', data }, world.queue.wait[1]!);
    successor.session.notify();
    await settle(successor);
    expect(successor.lanes.applied).toEqual(['w-1', 'w-2']);
    expect([world.bugs, successor.bugs]).toEqual([[], []]);
  });

  it('reclaims a job of an unknown version, and requeues it as one that may be applied', async () => {
    const world = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    const { data } = createJob(0, false);
    world.queue.active.push({ id: 'w-0', data: data.replace(`"v":${PROTOCOL_VERSION}`, '"v":9') });
    world.queue.wait.push(createJob(1, true));
    await pass(world.session.reclaim().then(() => {}));
    await vi.advanceTimersByTimeAsync(1_000);
    expect([world.lanes.applied, world.answers.size, world.queue.failed]).toEqual([[], 0, []]);
    await pass(world.session.drain());
    await pass(world.session.requeue().then(() => {}));
    expect([world.queue.wait.map(({ id }) => id), world.queue.doubtUntil]).toEqual([
      ['w-0', 'w-1'],
      ANY_TIME,
    ]);
  });

  it('answers no caller that a write failed while it may be committed', async () => {
    const random = createRandom(7);
    const world = createWorld(random, { lossRate: 0, refusalRate: 0 });
    let refusing = true;
    const { onOutcome } = world.session;
    world.session.onOutcome = function (outcome) {
      onOutcome.call(this, refusing ? refuse(true) : outcome);
    };
    world.queue.wait.push(createJob(0, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(world.answers.size).toBe(0);
    refusing = false;
    await settle(world);
    expect(world.answers).toEqual(new Map([['w-0', 'committed']]));
  });

  it('answers callers at once, while the file cannot be opened, that jobs never begun have failed', async () => {
    const world = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    let refusing = true;
    const { onOutcome } = world.session;
    world.session.onOutcome = function (outcome) {
      onOutcome.call(this, refusing ? refuse(true, false, 'DATABASE_CORRUPT') : outcome);
    };
    // More than a batch without waiting callers, in front of one with.
    const unawaited = Array.from({ length: 40 }, (_, index) => createJob(index, true));
    world.queue.wait.push(...unawaited, createJob(40, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(500);
    expect(world.answers).toEqual(new Map([['w-40', 'DATABASE_CORRUPT']]));
    expect(world.parked).toEqual(new Set(['acme']));
    // The pauses have grown to seconds: one that comes now does not wait for the end of one.
    await vi.advanceTimersByTimeAsync(20_000);
    world.queue.wait.push(createJob(41, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(200);
    expect(world.answers.get('w-41')).toBe('DATABASE_CORRUPT');
    expect(world.queue.failed).toEqual(['w-40', 'w-41']);
    refusing = false;
    world.queue.wait.push(createJob(42, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(500);
    expect(world.answers.get('w-42')).toBe('committed');
    await settle(world);
    expect(world.lanes.applied).toEqual([...unawaited.map(({ id }) => id), 'w-42']);
    expect(world.parked.size).toBe(0);
  });

  it('tries a file that could not be opened again without jobs, until it can', async () => {
    const world = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    let refusing = true;
    const { onOutcome } = world.session;
    world.session.onOutcome = function (outcome) {
      onOutcome.call(this, refusing ? refuse(true, false, 'TENANT_UNAVAILABLE') : outcome);
    };
    world.queue.wait.push(createJob(0, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(world.answers).toEqual(new Map([['w-0', 'TENANT_UNAVAILABLE']]));
    expect([world.parked.size, world.session.asleep]).toEqual([1, false]);
    // Closed as idle while it waits for its lane, it would open the file afterwards, unknown to all.
    const { enqueue } = world.lanes;
    const queued: unknown[] = [];
    world.lanes.enqueue = client => void queued.push(client);
    await vi.advanceTimersByTimeAsync(6_000);
    expect([queued, world.session.asleep]).toEqual([[world.session], false]);
    world.lanes.enqueue = enqueue;
    world.lanes.enqueue(world.session);
    refusing = false;
    await vi.advanceTimersByTimeAsync(6_000);
    expect([world.parked.size, world.session.asleep]).toEqual([0, true]);
  });

  it('tries a file without a job once its queue is known, and not while it is held', async () => {
    const world = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    world.parked.add('acme');
    world.session.tryFile();
    await vi.advanceTimersByTimeAsync(1_000);
    expect([world.parked.size, world.session.asleep, world.lanes.batches]).toEqual([0, true, 1]);

    const held = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    held.parked.add('acme');
    held.queue.reclaim = async () => ({ jobs: [], doubtUntil: 0, held: true });
    held.session.tryFile();
    await vi.advanceTimersByTimeAsync(1_000);
    expect([held.parked.size, held.lanes.batches]).toEqual([1, 0]);
  });

  it('refuses a job that would wait for the replica also after its lock ran out', async () => {
    const world = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    const { queue } = world;
    const { finish, reclaim } = queue;
    let reclaims = 0;
    queue.reclaim = () => {
      reclaims++;
      return reclaim.call(queue);
    };
    queue.finish = async (jobs, bounds) => {
      if (reclaims > 1) return finish.call(queue, jobs, bounds);
      await delay(1);
      return { refused: jobs.map(({ id }) => id), fetched: { jobs: [], waiting: 0 } };
    };
    queue.wait.push({ ...createJob(0, false), id: 'd-0' }, createJob(1, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(2_000);
    expect([...world.answers]).toEqual([
      ['d-0', 'REPLICA_UNAVAILABLE'],
      ['w-1', 'committed'],
    ]);
  });

  it('never answers so for a job that may be applied, also where another session requeues it', async () => {
    const world = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    let outcome: (() => ApplyOutcome) | undefined = () => refuse(true, true, 'DATABASE_IO_ERROR');
    const { onOutcome } = world.session;
    world.session.onOutcome = function (applied) {
      onOutcome.call(this, outcome?.() ?? applied);
    };
    // It is committed, and the thread does not know.
    world.queue.wait.push(createJob(0, false));
    world.session.notify();
    await vi.advanceTimersByTimeAsync(500);
    outcome = () => refuse(true, false, 'DATABASE_CORRUPT');
    await vi.advanceTimersByTimeAsync(20_000);
    expect([world.answers.size, world.parked.size, world.lanes.ledger.has('w-0')]).toEqual([0, 1, true]);
    await pass(world.session.drain());
    await pass(world.session.requeue().then(() => {}));
    expect([world.queue.wait.map(({ id }) => id), world.queue.doubtUntil]).toEqual([['w-0'], ANY_TIME]);
    const successor = createWorld(createRandom(8), { lossRate: 0, refusalRate: 0 });
    successor.queue.wait.push(...world.queue.wait);
    successor.queue.doubtUntil = ANY_TIME;
    for (const id of world.lanes.ledger) successor.lanes.ledger.add(id);
    const theirs = successor.session.onOutcome;
    successor.session.onOutcome = function (applied) {
      theirs.call(this, outcome?.() ?? applied);
    };
    successor.session.notify();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(successor.answers.size).toBe(0);
    outcome = undefined;
    await settle(successor);
    expect(successor.answers).toEqual(new Map([['w-0', 'committed']]));
    expect(successor.queue.doubtUntil).toBe(0);
  });

  it('answers so for a job that was added after those that were requeued as perhaps applied', async () => {
    const world = createWorld(createRandom(7), { lossRate: 0, refusalRate: 0 });
    const { onOutcome } = world.session;
    let refusing = true;
    world.session.onOutcome = function (outcome) {
      onOutcome.call(this, refusing ? refuse(true, false, 'TENANT_UNAVAILABLE') : outcome);
    };
    world.queue.doubtUntil = 100;
    world.queue.wait.push({ ...createJob(0, false), addedAt: 100 }, { ...createJob(1, false), addedAt: 101 });
    world.session.notify();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(world.answers).toEqual(new Map([['w-1', 'TENANT_UNAVAILABLE']]));
    await pass(world.session.drain());
    await pass(world.session.requeue().then(() => {}));
    expect([world.queue.wait.map(({ id }) => id), world.queue.doubtUntil]).toEqual([['w-0'], 100]);
    refusing = false;
  });

  it('begins nothing while a job leaves the queue as failed', async () => {
    const world = createWorld(() => 0.15, { lossRate: 0, refusalRate: 0 });
    const { lanes, queue, session, answers } = world;
    let refusing = true;
    const { onOutcome } = session;
    session.onOutcome = function (outcome) {
      onOutcome.call(this, refusing ? refuse(false) : outcome);
    };
    const finish = vi.spyOn(queue, 'finish');
    const { finish: now } = ModelQueue.prototype;
    finish.mockImplementationOnce(async (...args) => {
      await delay(300);
      return now.apply(queue, args);
    });
    queue.wait.push(createJob(0, false));
    session.notify();
    while (finish.mock.calls.length === 0) await vi.advanceTimersByTimeAsync(1);
    refusing = false;
    const { batches } = lanes;
    queue.wait.push(createJob(1, false));
    session.notify();
    await vi.advanceTimersByTimeAsync(200);
    expect([lanes.batches, answers.size]).toEqual([batches, 0]);
    await vi.advanceTimersByTimeAsync(200);
    expect(Object.fromEntries(answers)).toEqual({ 'w-0': 'DATABASE_BUSY', 'w-1': 'committed' });
    expect([world.bugs, session.held]).toEqual([[], 0]);
  });

  it('fetches the next jobs with the finish: one command a batch while it is busy', async () => {
    const random = createRandom(3);
    const world = createWorld(random, { lossRate: 0, refusalRate: 0 });
    const fetch = vi.spyOn(world.queue, 'fetch');
    world.queue.wait.push(...Array.from({ length: 200 }, (_, index) => createJob(index, false)));
    world.session.notify();
    await settle(world);
    expect(world.lanes.applied).toHaveLength(200);
    expect(fetch.mock.calls.length).toBeLessThanOrEqual(world.lanes.batches);
  });

  it('waits for a lane since it got in line, however late its place is asked for', async () => {
    const world = createWorld(createRandom(3), { lossRate: 0, refusalRate: 0 });
    let waiting: LaneClient | undefined;
    vi.spyOn(world.lanes, 'enqueue').mockImplementation(client => {
      waiting = client;
    });
    world.queue.wait.push({ ...createJob(0, false), addedAt: 7 });
    world.session.notify();
    await pass(vi.waitFor(() => expect(waiting).toBeDefined()));
    const since = waiting!.waitsSince;
    await vi.advanceTimersByTimeAsync(100);
    expect(waiting!.waitsSince).toBe(since);
    expect(performance.now() - since!).toBeGreaterThanOrEqual(100);
    expect(waiting!.addedAt).toBe(7);
  });

  it('is as new as its newest job, also where that comes while it waits for a lane', async () => {
    const world = createWorld(createRandom(3), { lossRate: 0, refusalRate: 0 });
    const renewed: unknown[] = [];
    vi.spyOn(world.lanes, 'enqueue').mockImplementation(client => {
      client.lane = { renew: ({ addedAt }: LaneClient) => renewed.push(addedAt) } as unknown as Lane;
    });
    world.queue.wait.push({ ...createJob(0, false), addedAt: 7 });
    world.session.notify();
    await pass(vi.waitFor(() => expect(world.session.lane).toBeDefined()));
    world.queue.wait.push({ ...createJob(1, false), addedAt: 9 });
    world.session.notify();
    await pass(vi.waitFor(() => expect(renewed).toEqual([9])));
  });

  it('is past a fetch when that is over, though the next is under way', async () => {
    const world = createWorld(createRandom(3), { lossRate: 0, refusalRate: 0 });
    const answers: (() => void)[] = [];
    vi.spyOn(world.queue, 'fetch').mockImplementation(
      () => new Promise(resolve => answers.push(() => resolve({ jobs: [], waiting: 1 }))),
    );
    world.session.notify();
    await pass(vi.waitFor(() => expect(answers).toHaveLength(1)));
    const past: string[] = [];
    void world.session.afterFetch().then(() => past.push('the first'));
    void world.session.untilFetched().then(() => past.push('all'));
    await vi.advanceTimersByTimeAsync(10);
    expect(past).toEqual([]);
    answers[0]!();
    await pass(vi.waitFor(() => expect(answers).toHaveLength(2)));
    await vi.advanceTimersByTimeAsync(10);
    expect(past).toEqual(['the first']);
  });

  it('answers once more if Redis may not have received the answer', async () => {
    const world = createWorld(createRandom(3), { lossRate: 0, refusalRate: 0 });
    const publish = vi.spyOn(world.inbox, 'publish').mockResolvedValueOnce(false);
    world.queue.wait.push(createJob(0, false));
    world.session.notify();
    await settle(world);
    expect(publish).toHaveBeenCalledTimes(2);
    expect(world.answers).toEqual(new Map([['w-0', 'committed']]));
  });

  it('finishes done jobs at once where it was quiet, else with the next fetch, or on request', async () => {
    // Every step takes less than a millisecond.
    const world = createWorld(() => 0.15, { lossRate: 0, refusalRate: 0 });
    const { queue, session, answers } = world;
    const [fetch, finish] = [vi.spyOn(queue, 'fetch'), vi.spyOn(queue, 'finish')];
    for (const index of [0, 1, 2, 3]) {
      queue.wait.push(createJob(index, false));
      session.notify();
      while (answers.size === index) await vi.advanceTimersByTimeAsync(1);
    }
    await vi.advanceTimersByTimeAsync(1_000);
    // Not w-0: no answer was sent before it.
    expect(fetch.mock.calls.length).toBe(2);
    expect(finish.mock.calls.map(([jobs, bounds]) => [jobs[0]!.id, bounds !== undefined])).toEqual([
      ['w-0', false],
      ['w-1', true],
      ['w-2', true],
    ]);
    expect(session.asleep).toBe(false);
    expect(queue.active.map(({ id }) => id)).toEqual(['w-3']);
    await pass(session.finishAnswered());
    expect(queue.finished).toEqual(['w-0', 'w-1', 'w-2', 'w-3']);
    expect(session.asleep).toBe(true);
  });

  it('finishes acknowledged jobs while the next fetch waits for a notification', async () => {
    const { doorbell, queue, session, answers } = createWorld(() => 0.15, { lossRate: 0, refusalRate: 0 });
    const link = doorbell as unknown as RedisLink;
    session.notify();
    for (const index of [0, 1]) {
      // Soon enough after the one before for a busy tenant.
      await Promise.all([session.untilFetched(), vi.advanceTimersByTimeAsync(5)]);
      expect(session.fetchAtNotification(link)).toBeDefined();
      queue.wait.push(createJob(index, false));
      doorbell.ring();
      await doorbell.wait();
      while (answers.size === index) await vi.advanceTimersByTimeAsync(1);
    }
    expect(session.fetchAtNotification(link)).toBeDefined();
    expect(queue.active.map(({ id }) => id)).toEqual(['w-1']);
    await pass(session.finishAnswered());
    expect(queue.finished).toEqual(['w-0', 'w-1']);
    expect(session.asleep).toBe(false);
  });

  it('requeues jobs not begun in order when it drains, and finishes the others', async () => {
    const random = createRandom(11);
    const world = createWorld(random, { lossRate: 0, refusalRate: 0 });
    world.queue.wait.push(...Array.from({ length: 100 }, (_, index) => createJob(index, false)));
    world.session.notify();
    while (world.lanes.batches < 1) await vi.advanceTimersByTimeAsync(1);
    const draining = world.session.drain();
    await vi.advanceTimersByTimeAsync(100);
    await draining;
    const giving = world.session.requeue();
    await vi.advanceTimersByTimeAsync(100);
    await giving;
    expect(world.queue.active).toEqual([]);
    expect([...world.queue.finished, ...world.queue.wait.map(job => job.id)]).toEqual(
      Array.from({ length: 100 }, (_, index) => `w-${index}`),
    );
    expect(world.queue.finished.length).toBeGreaterThan(0);
    expect(world.queue.wait.length).toBeGreaterThan(0);
  });
});
