import type { Logger } from '@onewriter/runtime';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createRandom } from '../../test-support/random.ts';
import type { RedisLink, Script } from '../queue/redis-link.ts';
import { HeldTenants } from './held-tenants.ts';

/* The holds of one tenant in a model of Redis in which every answer takes a random time, and a session that opens its file. */

class Model {
  /** Holds that have not ended. */
  holds = 0;
  released = false;
  waiting = 0;
  /** Names left by holders that found no leader. */
  unled: string | null = null;
  /** The session has the file open. */
  isOpen = false;
  /** The session's fetch has found a hold: it fetches nothing more. */
  gaveWay = false;
  closes = 0;
  /** When the next hold expires, unless it is renewed. */
  endsInMs = 30_000;
  /** Names of the holds. */
  names: string[] = [];
  /** Whether a close was for a person. */
  readonly forPerson: boolean[] = [];
  frees = 0;
  readonly held: HeldTenants;
  readonly #delay: () => Promise<void>;

  constructor(seed = 1) {
    const random = integersOf(seed);
    this.#delay = async () => {
      for (let turns = random(6); turns > 0; turns--) await new Promise(setImmediate);
    };
    const answer = async <Result>(execute: () => Result): Promise<Result> => {
      await this.#delay();
      const result = execute();
      await this.#delay();
      return result;
    };
    const link = {
      retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
      call: (command: string, key: string) =>
        answer(() => {
          if (command === 'HMGET') return [this.holds > 0 ? String(this.holds) : null, this.unled];
          if (command === 'HVALS') return this.names.map(name => JSON.stringify({ name }));
          return command === 'LLEN' && key.endsWith(':wait') ? this.waiting : 0;
        }),
      run: (_: Script) =>
        answer(() => {
          this.unled = null;
          this.released = this.holds > 0;
          return [Number(this.released), this.waiting, [], this.endsInMs];
        }),
    } as unknown as RedisLink;
    this.held = new HeldTenants({
      link,
      group: 'g',
      log: {} as Logger,
      epoch: () => 1,
      close: async (_tenant, isForPerson) => {
        this.forPerson.push(isForPerson);
        await this.#delay();
        this.isOpen = false;
        this.gaveWay = false;
        this.closes++;
        await this.#delay();
      },
      onEnded: () => {},
      onFree: () => {
        this.frees++;
        this.#open();
      },
      onFenced: async () => {},
      onBug: error => {
        throw error;
      },
    });
  }

  add(): void {
    this.holds++;
    this.held.release('t');
  }

  remove(): void {
    this.holds--;
    if (this.holds === 0) this.released = false;
    this.held.release('t');
  }

  ring(): void {
    this.waiting++;
    if (!this.held.onNotified('t')) this.#open();
  }

  /** The answer to a fetch says that the tenant is held. */
  giveWay(): void {
    this.gaveWay = true;
    this.held.giveWay('t');
  }

  /** A session whose first fetch reports a hold gives way. */
  #open(): void {
    if (this.gaveWay) return;
    if (this.holds > 0) this.giveWay();
    else {
      this.isOpen = true;
      this.waiting = 0;
    }
  }
}

function integersOf(seed: number): (below: number) => number {
  const random = createRandom(seed);
  return below => Math.floor(random() * below);
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < 100; turns++) await new Promise(setImmediate);
}

describe('a held tenant', () => {
  it.each([
    [['create'], false],
    [['repeat-offender'], false],
    [['pause'], true],
    [['create', 'pause'], true],
    [['delete'], true],
    [['restore'], true],
  ])('held by %j is handled by a person: %s', async (names, expected) => {
    const model = new Model();
    model.names = names;
    model.add();
    await settle();
    expect(model.forPerson).toEqual([expected]);
  });

  it.each([
    [['pause'], 'paused'],
    [['repeat-offender'], 'paused'],
    [['restore', 'pause'], 'restoring'],
    [['delete'], 'deleting'],
    [['create'], 'new'],
  ])('held by %j goes through releasing to %s, and back when the hold ends', async (names, state) => {
    const model = new Model();
    model.names = names;
    expect(model.held.stateOf('t')).toBeUndefined();
    model.add();
    expect(model.held.stateOf('t')).toBe('releasing');
    await settle();
    expect([model.held.stateOf('t'), model.isOpen]).toEqual([state, false]);
    model.ring();
    expect(model.held.stateOf('t')).toBe('releasing');
    await settle();
    expect(model.held.stateOf('t')).toBe(state);
    model.remove();
    await settle();
    expect([model.held.stateOf('t'), model.held.size]).toEqual([undefined, 0]);
  });

  it('is looked at again when a hold expires, also where it was renewed', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const model = new Model();
    model.ring();
    model.add();
    await settle();
    model.ring();
    await settle();
    // Renewed, it is held still at the first look; then its process dies, which sends no notification.
    vi.advanceTimersByTime(29_000);
    await settle();
    expect(model.frees).toBe(0);
    model.endsInMs = 5_000;
    vi.advanceTimersByTime(1_100);
    await settle();
    expect(model.frees).toBe(0);
    model.holds = 0;
    vi.advanceTimersByTime(4_900);
    await settle();
    expect(model.frees).toBe(0);
    vi.advanceTimersByTime(200);
    await settle();
    expect([model.isOpen, model.frees]).toEqual([true, 1]);
  });

  it('of which a hold ends in a hundred years is not looked at all the time', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const model = new Model();
    model.endsInMs = 100 * 365 * 24 * 60 * 60_000;
    model.add();
    await settle();
    const { closes } = model;
    vi.advanceTimersByTime(24 * 60 * 60_000);
    await settle();
    expect(model.closes).toBe(closes);
  });

  it('has its file closed once, and is served when the hold ends', async () => {
    const model = new Model();
    model.ring();
    expect(model.isOpen).toBe(true);
    model.add();
    await settle();
    expect([model.isOpen, model.released, model.frees]).toEqual([false, true, 0]);
    model.ring();
    await settle();
    expect([model.isOpen, model.frees]).toEqual([false, 0]);
    model.remove();
    await settle();
    expect([model.isOpen, model.waiting, model.frees]).toEqual([true, 0, 1]);
  });

  it('is served again where the hold that its fetch found has ended before the look', async () => {
    const model = new Model();
    model.ring();
    model.holds = 1;
    model.giveWay();
    model.holds = 0;
    model.waiting = 1;
    await settle();
    expect([model.gaveWay, model.isOpen, model.waiting, model.frees]).toEqual([false, true, 0, 1]);
  });

  it.each([
    ['pause', true],
    ['create', false],
  ])(
    'has its file closed, for a person: %s %s, where the hold came and went while this leader stood still',
    async (name, isForPerson) => {
      const model = new Model();
      model.ring();
      model.unled = name;
      model.held.release('t');
      await settle();
      expect([model.isOpen, model.unled, model.forPerson]).toEqual([false, null, [isForPerson]]);
      model.ring();
      await settle();
      expect(model.isOpen).toBe(true);
    },
  );

  it('is not closed by the notification at the end of a hold, nor made known by it', async () => {
    const model = new Model();
    model.held.release('t');
    await settle();
    expect([model.closes, model.frees]).toEqual([0, 0]);
  });

  it.each(Array.from({ length: 50 }, (_, seed) => seed))(
    'is never open once it is released, and always served at the end, whatever notifications come (seed %i)',
    async seed => {
      const random = integersOf(seed);
      const model = new Model(seed);
      for (let step = 0; step < 60; step++) {
        const what = random(4);
        if (what === 0) model.ring();
        else if (what === 1 && model.holds < 3) model.add();
        else if (what === 2 && model.holds > 0) model.remove();
        for (let turns = random(8); turns > 0; turns--) await new Promise(setImmediate);
        if (model.released) expect(model.isOpen).toBe(false);
      }
      while (model.holds > 0) model.remove();
      model.ring();
      await settle();
      expect([model.isOpen, model.waiting]).toEqual([true, 0]);
    },
  );
});
