import { connect, OnewriterError } from '@onewriter/sdk';
import { isAlive, type Stack, startStack, waitFor } from '@onewriter/testkit';
import { describe, expect, it, onTestFinished } from 'vitest';

const ENDLESS =
  'INSERT INTO t(n) WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c) SELECT i FROM c WHERE i < 0';
/** A value of 1 GB. */
const COSTLY = "INSERT INTO t(n) SELECT length(replace(hex(zeroblob(50000000)), '0', 'xxxxxxxxxx'))";
/** Runs for some seconds where nothing stops it, and inserts a row. */
const LONG =
  'INSERT INTO t(n) WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 30000000) SELECT count(*) FROM c';

const codeOf = (error: unknown) => (error instanceof OnewriterError ? error.code : String(error));

async function start(env: Record<string, string> = {}) {
  const stack = await startStack({ env });
  onTestFinished(async () => void (await stack.stop()));
  const client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  onTestFinished(() => client.close({ timeoutMs: 1_000 }));
  const [bad, other] = [client.tenant('bad'), client.tenant('other')];
  for (const db of [bad, other]) await db.exec('CREATE TABLE t(n INTEGER)');
  return { stack, bad, other };
}

/** Resolves when one is ready, beside those that were. */
async function untilSpare(stack: Stack, count = 1): Promise<number> {
  const ready = () => [...stack.logs().matchAll(/the spare broker is ready \(pid (\d+)\)/g)];
  await waitFor(() => ready().length >= count, { timeoutMs: 20_000, what: 'a spare' });
  return Number(ready().at(-1)![1]);
}

describe('the spare of a broker', () => {
  it.each([
    ['never ends', 'STATEMENT_TIMEOUT', ENDLESS, '700'],
    ['takes longer than it may', 'STATEMENT_TIMEOUT', LONG, '700'],
    ['takes too much memory', 'STATEMENT_TOO_COSTLY', COSTLY, '10000'],
  ])('takes over from one with a write that %s; others hardly notice', async (_, code, sql, timeoutMs) => {
    const { stack, bad, other } = await start({ ONEWRITER_STATEMENT_TIMEOUT_MS: timeoutMs });
    const spare = await untilSpare(stack);
    let done = false;
    let longestMs = 0;
    let others = 0;
    const writing = (async () => {
      for (; !done; others++) {
        const begunAt = performance.now();
        await other.prepare('INSERT INTO t(n) VALUES (?)').run(others);
        longestMs = Math.max(longestMs, performance.now() - begunAt);
      }
    })();
    expect(await bad.prepare(sql).run().catch(codeOf)).toBe(code);
    done = true;
    await writing;
    expect(stack.logs()).toContain('broker ended to be replaced; its spare takes over');
    // Two brokers may have had to end: one where it was not known which statement took the memory.
    if (stack.logs().split('broker ended').length === 2) expect(stack.currentPids().broker).toBe(spare);
    // 1 s on a machine of its own; other tests run beside this one.
    expect(longestMs).toBeLessThan(3_000);
    // What was stopped was not committed: not by the broker before, and not by the one after.
    expect(await bad.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 0 });
    expect(await other.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: others });
  });

  it('takes over from one that is killed, and listens where that one did; the next is ready soon', async () => {
    const { stack, other } = await start();
    const first = await untilSpare(stack);
    const { broker } = stack.currentPids();
    process.kill(broker, 'SIGKILL');
    await other.prepare('INSERT INTO t(n) VALUES (1)').run();
    expect(stack.logs()).toContain('broker ended (signal SIGKILL); its spare takes over');
    expect(stack.currentPids().broker).toBe(first);
    const ready = await fetch(`${stack.brokerUrls[0]}/readyz`);
    expect(await ready.json()).toMatchObject({ state: 'leading' });
    const second = await untilSpare(stack, 2);
    expect([second === first, isAlive(second)]).toEqual([false, true]);
  });

  it('ends with the stack, also where `onewriter up` is killed', async () => {
    const { stack } = await start();
    const spare = await untilSpare(stack);
    process.kill(stack.up.child.pid!, 'SIGKILL');
    await waitFor(() => !isAlive(spare), { what: 'the end of the spare' });
  });

  it('is not there where it is switched off: another process is started', async () => {
    const { stack, other } = await start({ ONEWRITER_SPARE_BROKER: 'off' });
    const { broker } = stack.currentPids();
    process.kill(broker, 'SIGKILL');
    await other.prepare('INSERT INTO t(n) VALUES (1)').run();
    expect(stack.logs()).toContain('broker ended (signal SIGKILL); starting it again');
    expect(stack.logs()).not.toContain('spare');
  });
});
