import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { groupKeys } from '@onewriter/protocol';
import { type AccessLevel, signToken } from '@onewriter/runtime';
import { holdKeys, pauseTenant, REPEAT_OFFENDER } from '@onewriter/tenants';
import { type Stack, startStack, TEST_TOKEN_SECRET, waitFor } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import type { AttackTask } from './attack-process.ts';
import { usePools } from './pool-user.ts';

/*
 * A running stack with honest tenants, and hostile ones that attack with a token of their own. What is asserted is what the
 * honest ones notice: their latency beside that of a quiet run, errors, the processes' memory, and processes that were replaced.
 */

/** Latencies of the honest tenants' requests, in ms, and what went wrong. */
export interface Honest {
  readonly requests: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  /** What took it. */
  readonly worstOf: 'read' | 'write';
  /** The same of requests with a large body, which are not among those above. */
  readonly largeP99: number;
  /** Times in which no honest request was answered, those of more than 250 ms, in ms all together. */
  readonly stalledMs: number;
  /** Codes of refused or failed requests, and how often. */
  readonly errors: Readonly<Record<string, number>>;
}

/** What an attack can use. */
export interface Target {
  readonly gatewayUrl: string;
  readonly port: number;
  /** A tenant of the attacker. */
  readonly tenant: string;
  /** All of them; its tokens are for each. */
  readonly tenants: readonly string[];
  token(access: AccessLevel): Promise<string>;
  /** Asks the gateway with a token of the attacker. @returns status and body */
  ask(path: string, body: object, options?: { access?: AccessLevel }): Promise<Answer>;
  /** Fires when the attack is to end. */
  readonly signal: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Does harm until the signal fires. Its answers do not matter. */
export interface Attack {
  readonly name: string;
  /** What it takes. */
  readonly summary: string;
  /** Statements that its tenant needs first. */
  readonly schema?: string | undefined;
  /** How many tenants its tokens are for; default: one. */
  readonly tenants?: number | undefined;
  /** How long it attacks at least: its harm shows later than that of others. */
  readonly leastSeconds?: number | undefined;
  /** The longest request of an honest tenant, at most, in ms. */
  readonly worstMs?: number | undefined;
  /** A process that others need may be replaced: the documented answer to it. Others then wait this long at most, in ms. */
  readonly stallMs?: number | undefined;
  /** The sum of these waits, at most, in ms, however long it attacks. */
  readonly totalStallMs?: number | undefined;
  /** After so many seconds the broker has begun to throttle its tenant, and has it held (ADR 0043). */
  readonly offender?: { readonly throttledAfterS: number; readonly heldAfterS: number } | undefined;
  run(target: Target): Promise<void>;
}

/** What a run showed. */
export interface Outcome {
  readonly quiet: Honest;
  readonly attacked: Honest;
  /** Most memory that each kind of process had with its children, in MiB; `child`: that one process of the gateway's had. */
  readonly peakMib: Readonly<Record<string, number>>;
  /** Processes of the stack that were replaced. */
  readonly replaced: readonly string[];
  /** How long it attacked. */
  readonly seconds: number;
  /** What the broker knows of the attackers, by attack; none where it was not replaced because of them. */
  readonly offenders: ReadonlyMap<string, Offender>;
}

/** An attacker's tenant because of which the broker was replaced. */
export interface Offender {
  readonly tenant: string;
  readonly times: number;
  /** From the second time on it is throttled. */
  readonly state: 'noted' | 'throttled' | 'held';
}

export interface RigOptions {
  readonly honest: number;
  /** How long each phase lasts. */
  readonly seconds: number;
  /** Measures the honest tenants alone in the first run only, not before each. */
  readonly isQuietOnce?: boolean | undefined;
  readonly settings?: Readonly<Record<string, string>> | undefined;
}

/** This folder, also where this file runs from `dist`. */
const ROOT = new URL(import.meta.url.includes('/dist/') ? '../' : './', import.meta.url);
/** Between two requests of an honest tenant. */
const PAUSE_MS = 20;
/** One request of so many has a body that another thread of the gateway reads. */
const LARGE_EVERY = 8;
const LARGE = 'x'.repeat(100_000);
const WARM_UP_S = 5;
const SAMPLE_MS = 200;
/** A longer time without any answer is a stall. */
const STALL_MS = 250;
const REQUEST_TIMEOUT_MS = 15_000;
/** Niceness. */
const LOWEST = '19';
const ATTACK_PROCESS = fileURLToPath(new URL('./dist/attack-process.js', ROOT));

/** A stack with honest tenants that work all the time. */
export class AttackRig implements AsyncDisposable {
  readonly #stack: Stack;
  readonly #options: RigOptions;
  #quiet: Honest | undefined;

  private constructor(stack: Stack, options: RigOptions) {
    this.#stack = stack;
    this.#options = options;
  }

  static async start(options: RigOptions): Promise<AttackRig> {
    const env = { ONEWRITER_TOKEN_SECRET: TEST_TOKEN_SECRET, ...options.settings };
    const rig = new AttackRig(await startStack({ env }), options);
    const { gatewayUrl, token } = rig.#stack;
    for (const tenant of rig.#tenants()) {
      const answer = await ask(gatewayUrl, `/v1/tenants/${tenant}/script`, token, {
        sql: 'CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES (1)',
      });
      if (answer.status !== 200) throw new Error(`${tenant}: ${answer.status} ${answer.text}`);
    }
    // Else the first quiet run measures processes that compile their code.
    await rig.#measure(WARM_UP_S, async () => {});
    return rig;
  }

  /** Measures the honest tenants alone, then beside the attacks. */
  async run(attacks: readonly Attack[]): Promise<Outcome> {
    const seconds = Math.max(this.#options.seconds, ...attacks.map(({ leastSeconds = 0 }) => leastSeconds));
    const known = this.#options.isQuietOnce ? this.#quiet : undefined;
    const quiet = known ?? (await this.#measure(this.#options.seconds, async () => {}));
    this.#quiet = quiet;
    const before = this.#stack.currentPids();
    const peakMib: Record<string, number> = {};
    const tasks = await Promise.all(attacks.map((attack, index) => this.#prepare(attack, index)));
    const attackers = await Promise.all(tasks.map(startApart));
    const attacked = await this.#measure(seconds, async signal => {
      const sampling = setInterval(() => this.#sample(peakMib), SAMPLE_MS);
      await Promise.all(attackers.map(attacker => attackUntil(attacker, signal)));
      clearInterval(sampling);
    });
    const after = this.#stack.currentPids();
    const replaced = (['broker', 'gateway', 'dashboard', 'redis'] as const).filter(
      name => before[name] !== after[name],
    );
    const offenders = await this.#offenders(tasks);
    await this.#awaitCalm(tasks.flatMap(({ tenants }) => tenants));
    return { quiet, attacked, peakMib, replaced, seconds, offenders };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.stop();
  }

  #tenants(): string[] {
    return Array.from({ length: this.#options.honest }, (_, index) => `honest-${index}`);
  }

  /** Makes the tenant of an attack. */
  async #prepare(attack: Attack, index: number): Promise<AttackTask> {
    const { gatewayUrl, token } = this.#stack;
    const first = `hostile-${attack.name}-${index}`;
    const others = Array.from({ length: (attack.tenants ?? 1) - 1 }, (_, other) => `${first}-${other + 1}`);
    const tenants = [first, ...others];
    const sql = `CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v);${attack.schema ?? ''}`;
    for (const tenant of tenants) {
      const made = await ask(gatewayUrl, `/v1/tenants/${tenant}/script`, token, { sql });
      if (made.status !== 200) throw new Error(`${tenant}: ${made.status} ${made.text}`);
    }
    return { attack: attack.name, gatewayUrl, tenants };
  }

  /** Lets the honest tenants work for so long, with `work` beside them. */
  async #measure(seconds: number, work: (signal: AbortSignal) => Promise<void>): Promise<Honest> {
    const latencies: number[] = [];
    let longest: { readonly ms: number; readonly of: 'read' | 'write' } = { ms: 0, of: 'read' };
    const large: number[] = [];
    const errors: Record<string, number> = {};
    let stalledMs = 0;
    let answeredAt = performance.now();
    const ending = new AbortController();
    const timer = setTimeout(() => ending.abort(), seconds * 1_000);
    const { gatewayUrl } = this.#stack;
    const clients = this.#tenants().map(async tenant => {
      const token = await signToken(TEST_TOKEN_SECRET, { tenants: [tenant], access: 'write' });
      for (let count = 0; !ending.signal.aborted; count++) {
        const sql = count % 2 === 0 ? 'UPDATE t SET v = v + 1 WHERE id = 1' : 'SELECT v FROM t WHERE id = 1';
        const isLarge = count % LARGE_EVERY === LARGE_EVERY - 1;
        const more = isLarge ? { more: LARGE } : {};
        const begun = performance.now();
        const answer = await ask(gatewayUrl, `/v1/tenants/${tenant}/query`, token, { sql, ...more });
        const now = performance.now();
        (isLarge ? large : latencies).push(now - begun);
        if (!isLarge && now - begun > longest.ms)
          longest = { ms: now - begun, of: count % 2 === 0 ? 'write' : 'read' };
        if (now - answeredAt > STALL_MS) stalledMs += now - answeredAt;
        answeredAt = now;
        if (answer.status !== 200) {
          const code = /"code":"(\w+)"/.exec(answer.text)?.[1] ?? `${answer.status} ${answer.text}`.trim();
          errors[code] = (errors[code] ?? 0) + 1;
        }
        await pause(PAUSE_MS);
      }
    });
    const tenant = this.#tenants()[0]!;
    const pools = usePools({
      ...{ gatewayUrl, tenant, signal: ending.signal },
      token: await signToken(TEST_TOKEN_SECRET, { tenants: [tenant], access: 'write' }),
      onError: what => {
        errors[what] = (errors[what] ?? 0) + 1;
      },
    });
    // An attack that ends early does no more harm: the phase continues.
    await Promise.all([...clients, pools, work(ending.signal)]);
    clearTimeout(timer);
    const at = (sorted: readonly number[], part: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
    latencies.sort((a, b) => a - b);
    large.sort((a, b) => a - b);
    return {
      requests: latencies.length,
      p50: at(latencies, 0.5),
      p99: at(latencies, 0.99),
      worst: at(latencies, 1),
      worstOf: longest.of,
      largeP99: at(large, 0.99),
      stalledMs,
      errors,
    };
  }

  #sample(peakMib: Record<string, number>): void {
    const pids = this.#stack.currentPids();
    const note = (name: string, mib: number) => {
      peakMib[name] = Math.max(peakMib[name] ?? 0, Math.round(mib));
    };
    for (const name of ['broker', 'gateway', 'dashboard', 'redis'] as const) {
      const children = childrenOf(pids[name]).map(residentMib);
      const mib = children.reduce((sum, child) => sum + child, residentMib(pids[name]));
      note(name, mib);
      if (name === 'gateway') note('child', Math.max(0, ...children));
    }
  }

  async #offenders(tasks: readonly AttackTask[]): Promise<ReadonlyMap<string, Offender>> {
    const redis = new Redis(this.#stack.redisUrl);
    try {
      const offenders = new Map<string, Offender>();
      for (const { attack, tenants } of tasks) {
        const tenant = tenants[0]!;
        const json = await redis.hget(groupKeys('default').backOff, tenant);
        if (json === null) continue;
        const { times } = JSON.parse(json) as { readonly times: number };
        const isHeld = (await redis.hexists(holdKeys('default', tenant).holds, REPEAT_OFFENDER)) === 1;
        offenders.set(attack, { tenant, times, state: isHeld ? 'held' : times > 1 ? 'throttled' : 'noted' });
      }
      return offenders;
    } finally {
      redis.disconnect();
    }
  }

  /** So that the next run does not measure this one's end: what the attackers left in their queues is not run. */
  async #awaitCalm(hostile: readonly string[]): Promise<void> {
    const { gatewayUrl, redisUrl, token } = this.#stack;
    const redis = new Redis(redisUrl);
    try {
      // Where the broker is just being replaced it does not release the file in time.
      const pause = (tenant: string) =>
        pauseTenant(redis, 'default', tenant, 'attacks').then(
          () => true,
          () => false,
        );
      for (const tenant of hostile)
        await waitFor(() => pause(tenant), { timeoutMs: 60_000, what: `${tenant} to be paused` });
    } finally {
      redis.disconnect();
    }
    await waitFor(
      async () =>
        (await ask(gatewayUrl, '/v1/tenants/honest-0/query', token, { sql: 'UPDATE t SET v = v' })).status ===
        200,
      { timeoutMs: 60_000, what: 'an honest write after the attack' },
    );
  }
}

/** Starts the process of an attack, which waits: its start is not part of what is measured. */
async function startApart(task: AttackTask): Promise<ChildProcess> {
  // All threads of the process, from its first instruction.
  const child = fork(ATTACK_PROCESS, [JSON.stringify(task)], {
    execPath: 'nice',
    execArgv: ['-n', LOWEST, process.execPath],
    detached: true,
  });
  lowerSession(child.pid);
  const isReady = await Promise.race([
    once(child, 'message').then(() => true),
    once(child, 'close').then(() => false),
  ]);
  if (!isReady) throw new Error(`The attack ${task.attack} did not start.`);
  return child;
}

/**
 * Where Linux shares the CPU among sessions first (autogroups), the niceness of a process counts within its session only: without
 * this an attack takes half of the CPU from the stack, which has a session of its own.
 */
function lowerSession(leader: number | undefined): void {
  const file = `/proc/${leader}/autogroup`;
  if (existsSync(file)) writeFileSync(file, LOWEST);
}

/** Lets an attack run until the signal fires. */
async function attackUntil(attacker: ChildProcess, signal: AbortSignal): Promise<void> {
  const closed = once(attacker, 'close');
  signal.addEventListener('abort', () => attacker.kill('SIGTERM'), { once: true });
  attacker.send('attack');
  await closed;
  if (!signal.aborted) throw new Error(`An attack ended before its time: ${attacker.spawnargs.at(-1)}`);
}

/** Never throws: an answer that does not come has status 0. */
export async function ask(
  gatewayUrl: string,
  path: string,
  token: string,
  body: object,
  signal?: AbortSignal,
): Promise<Answer> {
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  try {
    const response = await fetch(gatewayUrl + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    return { status: response.status, text: await response.text() };
  } catch (error) {
    return { status: 0, text: (error as Error).name };
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}

/** Resolves when the signal fires. */
export function ended(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap(thread =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return []; // it has ended
  }
}

function residentMib(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024;
  } catch {
    return 0; // it has ended
  }
}
