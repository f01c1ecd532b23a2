import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  CLI_MAIN,
  isAlive,
  type Stack,
  spawnProcess,
  startStack,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { columnInFile } from './tenant-file.ts';

/* `onewriter up --brokers 2`: one leads, the other takes over. */

/** From the end of the leader to the lead of the standby. Source: the goal of the lease's design. */
const MAX_TAKE_OVER_MS = 3_000;
/** For what is not measured, on a busy machine. */
const PATIENT = { timeoutMs: 30_000 };
const TENANT = 'acme';

interface BrokerHealth {
  readonly state: string;
}

/** In log lines, by the place in the stack's lists. */
const nameOf = (index: number) => (index === 0 ? 'broker' : `broker-${index + 1}`);

async function healthOf(url: string): Promise<BrokerHealth | undefined> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1_000) });
    return (await response.json()) as BrokerHealth;
  } catch {
    return undefined;
  }
}

/** Waits until one broker leads and the other stands by; returns their places in the stack's lists. */
async function awaitPair(stack: Stack): Promise<{ readonly leader: number; readonly standby: number }> {
  const states = async () => (await Promise.all(stack.brokerUrls.map(healthOf))).map(health => health?.state);
  const found = await waitFor(
    async () => {
      const seen = await states();
      const pair = { leader: seen.indexOf('leading'), standby: seen.indexOf('standby') };
      return pair.leader >= 0 && pair.standby >= 0 ? pair : undefined;
    },
    { ...PATIENT, what: 'a leader and a standby' },
  );
  return found;
}

/** Writes 1, 2, 3 … one after the other until `stop()`; resolves to those that were acknowledged. */
function writeOn(app: Onewriter) {
  const insert = app.tenant(TENANT).prepare('INSERT INTO numbers(n) VALUES (?)').withOptions(PATIENT);
  const committed: number[] = [];
  let stopped = false;
  const done = (async () => {
    for (let n = 1; !stopped; n++) {
      await insert.run(n);
      committed.push(n);
    }
  })();
  done.catch(() => {}); // stop() reports it
  return {
    committed,
    stop: async () => {
      stopped = true;
      await done;
      return committed;
    },
  };
}

describe('up --brokers 2', () => {
  let stack: Stack;
  let app: Onewriter;

  beforeAll(async () => {
    stack = await startStack({ args: ['--brokers', '2'] });
    app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  });
  afterAll(async () => {
    await app?.close();
    await stack?.stop();
  });

  it('names all brokers, of which one leads', async () => {
    expect(stack.pids.brokers).toHaveLength(2);
    expect(stack.pids.brokers[0]).toBe(stack.pids.broker);
    expect(new Set(stack.brokerUrls).size).toBe(2);
    expect(stack.currentPids()).toEqual(stack.pids);
    for (const pid of stack.pids.brokers) expect(isAlive(pid)).toBe(true);
    await awaitPair(stack);
  });

  it.each([
    ['kills', 'SIGKILL', 'signal SIGKILL'],
    ['stops', 'SIGTERM', 'exit code 0'],
  ] as const)(
    'lets the standby lead after a person %s the leader, which comes back as standby',
    async (_, signal, end) => {
      await app.tenant(TENANT).exec('DROP TABLE IF EXISTS numbers; CREATE TABLE numbers(n INTEGER UNIQUE)');
      const { leader, standby } = await awaitPair(stack);
      const before = stack.currentPids().brokers;
      const writes = writeOn(app);
      await waitFor(() => writes.committed.length >= 20, { ...PATIENT, what: 'writes' });

      const startedAt = performance.now();
      process.kill(before[leader]!, signal);
      await waitFor(async () => (await healthOf(stack.brokerUrls[standby]!))?.state === 'leading', {
        ...PATIENT,
        what: 'the standby to lead',
      });
      const tookMs = performance.now() - startedAt;
      const seen = writes.committed.length;
      await waitFor(() => writes.committed.length >= seen + 20, {
        ...PATIENT,
        what: 'writes by the new leader',
      });
      expect(tookMs).toBeLessThan(MAX_TAKE_OVER_MS);

      await waitFor(() => stack.currentPids().brokers[leader] !== before[leader], PATIENT);
      expect(await awaitPair(stack)).toEqual({ leader: standby, standby: leader });
      expect(stack.currentPids().brokers[standby]).toBe(before[standby]);
      expect(stack.currentPids().broker).toBe(stack.currentPids().brokers[0]);
      const name = leader === 0 ? 'broker' : `broker-${leader + 1}`;
      expect(stack.logs()).toContain(`${name} ended (${end}); starting it again`);

      const committed = await writes.stop();
      expect(columnInFile(stack.dataDir, TENANT, 'SELECT n FROM numbers ORDER BY rowid')).toEqual(committed);
    },
  );

  it('ends all at one Ctrl-C, the standby before the leader', async () => {
    const { leader, standby } = await awaitPair(stack);
    const pids = Object.values(stack.currentPids()).flat();
    const before = stack.logs().length;
    stack.up.kill('SIGINT');
    expect(await stack.up.exited).toEqual({ code: 0, signal: null });
    expect(pids.filter(isAlive)).toEqual([]);
    expect(existsSync(join(stack.dataDir, 'onewriter.json'))).toBe(false);
    const logs = stack.logs().slice(before);
    expect(logs).not.toContain('is killed');
    const drains = [...logs.matchAll(/ (broker\S*) +info +(Draining|Drained)/g)].map(([, name, did]) => [
      name,
      did,
    ]);
    expect(drains).toEqual([
      [nameOf(standby), 'Draining'],
      [nameOf(standby), 'Drained'],
      [nameOf(leader), 'Draining'],
      [nameOf(leader), 'Drained'],
    ]);
  });
});

describe('up', () => {
  async function newDirectory(): Promise<string> {
    const directory = await temporaryDirectory('brokers');
    onTestFinished(() => directory.remove());
    return directory.path;
  }

  it('ends every broker of a run that was killed, also one that hangs, before it starts its own', async () => {
    const dataDir = await newDirectory();
    const env = { ONEWRITER_DRAIN_MS: '500' };
    const first = await startStack({ dataDir, env, args: ['--brokers', '2'] });
    onTestFinished(async () => void (await first.stop()));
    const orphans = first.currentPids().brokers;
    onTestFinished(() => {
      for (const pid of orphans) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    });
    process.kill(orphans[1]!, 'SIGSTOP');
    first.up.kill('SIGKILL');
    await first.up.exited;
    const second = await startStack({ dataDir, env });
    onTestFinished(async () => void (await second.stop()));
    expect(orphans.filter(isAlive)).toEqual([]);
    expect(second.logs()).toContain(`broker of an earlier run did not drain within 2500 ms and is killed`);
    expect(second.pids.brokers).toEqual([second.pids.broker]);
  });

  it('shows people which broker leads', async () => {
    const dataDir = await newDirectory();
    const args = ['--brokers', '2', '--data-dir', dataDir, '--gateway-port', '0', '--dashboard-port', '0'];
    const up = await spawnProcess(process.execPath, [CLI_MAIN, 'up', ...args], { env: withoutSettings() });
    onTestFinished(async () => void (await up.stop(45_000)));
    await waitFor(() => up.stdout().includes('Ctrl-C drains'), { timeoutMs: 60_000, what: 'the summary' });
    const brokers = /\n {2}broker {5}http:\S+ (.*)\n {13}http:\S+ (.*)\n/.exec(up.stdout())?.slice(1).sort();
    expect(brokers).toEqual(['leads', 'stands by']);
  });
});
