import { once } from 'node:events';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SupervisedProcess, type SupervisedProcessOptions } from './supervised-process.ts';

/** A spare: it waits, and is ready when it gets the order to take over. */
const SPARE = `
  process.send({ type: 'spare' });
  process.once('message', message => process.send({ type: 'ready', by: message }));
  process.on('message', message => console.log(JSON.stringify(message)));
  setInterval(() => {}, 1000);`;

/** A child that says it is ready, and does what `body` says. */
const READY = `process.send({ type: 'ready' });`;
const STAY = 'setInterval(() => {}, 1000);';

function supervise(
  script: string | ((start: number) => string),
  options: Partial<SupervisedProcessOptions<number>> = {},
) {
  const logs: string[] = [];
  const lines: string[] = [];
  const pids: number[] = [];
  let starts = 0;
  const supervised = new SupervisedProcess<number>({
    name: 'child',
    log: (level, message) => logs.push(`${level} ${message}`),
    startTimeoutMs: 10_000,
    graceMs: 5_000,
    command: () => {
      starts++;
      const source = typeof script === 'string' ? script : script(starts);
      return { file: process.execPath, args: ['-e', source], ipc: true };
    },
    whenReady: async (child, signal) => {
      await once(child, 'message', { signal });
      return child.pid!;
    },
    onReady: (_, pid) => pids.push(pid),
    onLine: line => lines.push(line),
    ...options,
  });
  onTestFinished(() => supervised.stop());
  return { supervised, logs, lines, pids, starts: () => starts };
}

/** A child with a spare. */
function superviseWithSpare(child = READY + STAY, spare = SPARE) {
  let spares = 0;
  const notices: boolean[] = [];
  const result = supervise(child, {
    replacedSignal: 'SIGALRM',
    spare: {
      command: () => {
        spares++;
        return { file: process.execPath, args: ['-e', spare], ipc: true };
      },
      whenWaiting: async (process, signal) => void (await once(process, 'message', { signal })),
      takeOver: process => void process.send('take over'),
      notify: (_, waits) => notices.push(waits),
      delayMs: 1,
    },
  });
  return { ...result, spares: () => spares, notices };
}

async function until(condition: () => boolean) {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('The condition was not met.');
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

describe('SupervisedProcess', () => {
  it('starts a child again when it is killed', async () => {
    const { supervised, logs, pids } = supervise(READY + STAY);
    await supervised.start();
    process.kill(supervised.pid, 'SIGKILL');
    await until(() => pids.length === 2);
    expect(pids[1]).not.toBe(pids[0]);
    expect(supervised.pid).toBe(pids[1]);
    expect(logs[0]).toMatch(/^error child ended \(signal SIGKILL\); starting it again in \d+ ms$/);
  });

  it('starts a child at once that ends to be replaced, however often', async () => {
    const { supervised, logs, pids } = supervise(READY + STAY, { replacedSignal: 'SIGALRM' });
    await supervised.start();
    for (let times = 1; times <= 8; times++) {
      process.kill(supervised.pid, 'SIGALRM');
      await until(() => pids.length === times + 1);
    }
    expect(
      logs.filter(line => line !== 'warn child ended to be replaced; starting it again at once'),
    ).toEqual(pids.slice(1).map(pid => `info child is back (pid ${pid})`));
    // A crash in between begins with the shortest pause.
    process.kill(supervised.pid, 'SIGKILL');
    await until(() => pids.length === 10);
    const crash = logs.find(line => line.startsWith('error'))!;
    expect(Number(/in (\d+) ms$/.exec(crash)?.[1])).toBeLessThanOrEqual(100);
  });

  it('does not start it again after stop(), and lets it drain', async () => {
    const { supervised, lines, starts } = supervise(
      `process.on('SIGTERM', () => { console.log('drained'); process.exit(0); }); ${READY + STAY}`,
    );
    await supervised.start();
    await supervised.stop();
    await supervised.stop();
    expect(lines).toEqual(['drained']);
    expect(supervised.pid).toBe(0);
    expect(starts()).toBe(1);
  });

  it('kills a child that does not drain, and says so', async () => {
    const { supervised, logs } = supervise(`process.on('SIGTERM', () => {}); ${READY + STAY}`, {
      graceMs: 100,
    });
    await supervised.start();
    await supervised.stop();
    expect(logs).toEqual(['warn child did not drain within 100 ms and is killed']);
  });

  it('gives up a first start after three attempts, with the last words of the child', async () => {
    const record = JSON.stringify({ level: 60, msg: 'no', err: { message: 'the disk is upside down' } });
    const { supervised, starts } = supervise(`console.error('${record}'); process.exit(3);`);
    await expect(supervised.start()).rejects.toMatchObject({
      code: 'MISCONFIGURED',
      message: 'child did not start (exit code 3): the disk is upside down',
    });
    expect(starts()).toBe(3);
  });

  it('survives a first attempt that fails', async () => {
    const { supervised, starts } = supervise(start => (start === 1 ? 'process.exit(1)' : READY + STAY));
    expect(await supervised.start()).toBe(supervised.pid);
    expect(starts()).toBe(2);
  });

  it('kills a child that does not become ready in time', async () => {
    const { supervised } = supervise(STAY, { startTimeoutMs: 150 });
    await expect(supervised.start()).rejects.toThrow('child did not start (not ready after 150 ms)');
    expect(supervised.pid).toBe(0);
  });

  it('says that a program is not there', async () => {
    const { supervised } = supervise('', { command: () => ({ file: '/no/such/program', args: [] }) });
    await expect(supervised.start()).rejects.toThrow('/no/such/program');
  });

  it('ends a child that is still starting', async () => {
    const { supervised } = supervise(STAY);
    const starting = supervised.start();
    await until(() => supervised.pid !== 0);
    await supervised.stop();
    await expect(starting).rejects.toThrow('did not start');
    expect(supervised.pid).toBe(0);
  });

  it('gives up on a child that served once, when its starts fail for good', async () => {
    const givenUp: string[] = [];
    const { supervised, starts } = supervise(
      start => (start === 1 ? READY + STAY : `console.log('EADDRINUSE'); process.exit(1);`),
      {
        givesUp: {
          when: output => output.includes('EADDRINUSE'),
          afterMs: 500,
          onGivenUp: error => givenUp.push(error.message),
        },
      },
    );
    await supervised.start();
    process.kill(supervised.pid, 'SIGKILL');
    await until(() => givenUp.length === 1);
    expect(givenUp[0]).toMatch(/child did not start \(exit code 1\): EADDRINUSE/);
    // Not before its time was over.
    expect(starts()).toBeGreaterThan(2);
  });

  it('continues with a child whose starts fail for another reason in between', async () => {
    const givenUp: Error[] = [];
    const { supervised, starts } = supervise(
      start =>
        start === 1 || start > 6
          ? READY + STAY
          : `console.log('${start % 2 ? 'other' : 'EADDRINUSE'}'); process.exit(1);`,
      {
        givesUp: {
          when: output => output.includes('EADDRINUSE'),
          afterMs: 1,
          onGivenUp: error => givenUp.push(error),
        },
      },
    );
    await supervised.start();
    process.kill(supervised.pid, 'SIGKILL');
    await until(() => starts() === 7);
    expect(givenUp).toEqual([]);
  });
});

describe('SupervisedProcess with a spare', () => {
  it.each([
    ['is killed', 'SIGKILL', 'error child ended (signal SIGKILL); its spare takes over'],
    ['ends to be replaced', 'SIGALRM', 'warn child ended to be replaced; its spare takes over'],
  ] as const)('has it take over at once when the child %s, and starts another', async (_, signal, line) => {
    const { supervised, logs, pids, notices } = superviseWithSpare();
    await supervised.start();
    await until(() => notices.at(-1) === true);
    const { sparePid } = supervised;
    process.kill(supervised.pid, signal);
    await until(() => pids.length === 2);
    expect(pids[1]).toBe(sparePid);
    const ready = `info the spare child is ready (pid ${sparePid})`;
    expect(logs.slice(0, 3)).toEqual([ready, line, `info child is back (pid ${sparePid})`]);
    // First it is said that one is on its way.
    await until(() => notices.length === 4);
    expect(notices).toEqual([false, true, false, true]);
    expect(supervised.sparePid).not.toBe(sparePid);
  });

  it('pauses before the next start where what took over ends soon, too', async () => {
    const { supervised, logs, pids, notices } = superviseWithSpare();
    await supervised.start();
    for (const times of [1, 2]) {
      await until(() => notices.at(-1) === true);
      process.kill(supervised.pid, 'SIGKILL');
      await until(() => pids.length === times + 1);
    }
    expect(logs.join('\n')).toMatch(/error child ended \(signal SIGKILL\); starting it again in \d+ ms/);
  });

  it('has one that is still starting take over when it is ready to', async () => {
    const { supervised, pids } = superviseWithSpare(READY + STAY, `setTimeout(() => {${SPARE}}, 300)`);
    await supervised.start();
    await until(() => supervised.sparePid !== 0);
    const { sparePid } = supervised;
    process.kill(supervised.pid, 'SIGALRM');
    await until(() => pids.length === 2);
    expect(pids[1]).toBe(sparePid);
  });

  it('starts the child again where the spare ends as it takes over', async () => {
    const dying = `process.send({ type: 'spare' }); process.once('message', () => process.exit(7)); ${STAY}`;
    const { supervised, logs, pids, starts, notices } = superviseWithSpare(READY + STAY, dying);
    await supervised.start();
    await until(() => notices.at(-1) === true);
    process.kill(supervised.pid, 'SIGALRM');
    await until(() => pids.length === 2);
    expect(logs[2]).toContain('child did not start (exit code 7)');
    expect(starts()).toBe(3);
  });

  it('starts a spare again that ends, with a pause, and leaves the child alone', async () => {
    const { supervised, logs, pids, notices, spares } = superviseWithSpare();
    await supervised.start();
    await until(() => notices.at(-1) === true);
    process.kill(supervised.sparePid, 'SIGKILL');
    await until(() => spares() === 2 && notices.at(-1) === true);
    expect(logs.join('\n')).toMatch(
      /error the spare child ended \(signal SIGKILL\); starting it again in \d+ ms/,
    );
    expect(notices).toEqual([false, true, false, true]);
    expect(pids).toHaveLength(1);
  });

  it('ends it with the child, and starts no other', async () => {
    const { supervised, notices, spares } = superviseWithSpare();
    await supervised.start();
    await until(() => notices.at(-1) === true);
    const { sparePid } = supervised;
    await supervised.stop();
    expect(() => process.kill(sparePid, 0)).toThrow('ESRCH');
    expect([spares(), supervised.sparePid]).toEqual([1, 0]);
  });
});
