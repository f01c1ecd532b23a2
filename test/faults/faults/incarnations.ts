import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isOnewriterError } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import type { Random } from '@onewriter/testkit';
import { CLI_MAIN, type SpawnedProcess, spawnProcess, waitFor } from '@onewriter/testkit';
import { EventFollower } from '../event-follower.ts';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { RECOVERY_MS, type Rig } from '../rig.ts';

/** An SDK client that reads when it is asked to, and keeps an iteration open from one time to the next. */
const READER = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts')
      ? '../../e2e/incarnation-reader.js'
      : '../../../e2e/incarnation-reader.js',
    import.meta.url,
  ),
);
const READERS = 2;
const CHANGES = 4;
const RETRY_PAUSE_MS = 50;
/** Commits to the present file; a restored one has the backup's ledger, too, up to the row of the restore. */
const COMMITS = `SELECT DISTINCT commit_seq AS seq FROM sqlite_onewriter_ledger WHERE commit_seq >
  (SELECT coalesce(max(commit_seq), 0) FROM sqlite_onewriter_ledger WHERE job_id LIKE 'restore-%') ORDER BY seq`;

/**
 * A tenant is deleted and created again, and restored over itself, under writes. A client that reads after the answer to that
 * sees the new file, whatever had the old one open: SDK readers in other processes, the gateway's readers, a stream of
 * events, an open transaction that has read.
 */
export const incarnations: Fault = {
  name: 'incarnations',
  summary:
    'Tenants are deleted and created again, and restored with --replace, under writes, readers, event streams and open transactions, while leaders are killed.',
  rig: { brokers: 2, gateway: true, clients: [{ pauseMs: 20 }, { via: 'gateway', pauseMs: 20 }] },
  rounds: 12,
  roundsPerRig: 6,
  async round({ rig, random, round, say }) {
    const changed = new ChangedTenant(rig, `life-${round}`);
    const done: string[] = [];
    try {
      await changed.start();
      for (let change = 1; change <= CHANGES; change++) {
        const what = random.pick(['created again', 'restored'] as const);
        const isKilled = random.oneIn(3);
        await changed.change(what, change, isKilled ? random : undefined);
        done.push(`${what}${isKilled ? ', leader killed' : ''}`);
      }
    } finally {
      await changed.close();
    }
    await rig.awaitRecovery();
    say(done.join('; '));
  },
};

/** The answer of a reader: what it read by key, how many rows it read, and that an iteration over them was of one file. */
interface ReaderAnswer {
  readonly get: string | null;
  readonly all: number;
  readonly iterate: number | string[];
  readonly open: number | string[] | null;
}

/** A tenant with two rows of one value, which changes with its file. */
class ChangedTenant {
  readonly tenant: string;
  readonly #rig: Rig;
  readonly #readers: SpawnedProcess[] = [];
  readonly #closing = new AbortController();
  #other!: Onewriter;
  #follower!: EventFollower;
  #load: Promise<void> | undefined;
  #value = 'value 0';

  constructor(rig: Rig, tenant: string) {
    this.#rig = rig;
    this.tenant = tenant;
  }

  async start(): Promise<void> {
    const { redis, dataDir, gateway, token } = this.#rig;
    this.#other = await connect({ redis: redis.url, dataDir });
    await this.#fill();
    const args = [READER, dataDir, redis.url, this.tenant];
    for (let count = 0; count < READERS; count++) {
      this.#readers.push(await spawnProcess(process.execPath, args, { ipc: true }));
    }
    this.#follower = new EventFollower(`${gateway!.url}/v1/tenants/${this.tenant}/events`, token);
    await this.#assertFresh('before the first change');
    this.#load = this.#write();
  }

  /** @param killing draws when the leader is killed; undefined: not at all. */
  async change(
    what: 'created again' | 'restored',
    number: number,
    killing: Random | undefined,
  ): Promise<void> {
    const when = `after change ${number} (${what})`;
    const baton = await this.#beginReading();
    const lastEventId = await this.#follower.untilReady();
    const backup = what === 'restored' ? await this.#backup() : undefined;
    const killed = killing === undefined ? undefined : this.#killLeader(killing.between(0, 400));
    if (backup === undefined) {
      await this.#retry('the deletion', () => this.#delete());
      this.#value = `value ${number}`;
      await this.#fill();
    } else {
      // It is in the old file only.
      await this.#set('of the replaced file');
      await this.#retry('the restore', () => this.#cli('restore', backup, this.tenant, '--replace'));
    }
    await this.#assertFresh(when);
    await this.#assertReceipts(when);
    await this.#assertCommitFails(baton, when);
    await this.#assertFresh(`${when}, and after the old transaction`);
    await this.#assertEvents(lastEventId, when);
    await killed;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#load;
    await this.#follower?.close();
    for (const reader of this.#readers) reader.kill('SIGKILL');
    await Promise.all(this.#readers.map(({ exited }) => exited));
    await this.#other?.close();
  }

  /** Until it works: leaders are killed meanwhile, and others write. */
  async #retry<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    const due = performance.now() + RECOVERY_MS;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (performance.now() > due) throw new FaultFailure(`${this.tenant}: ${what}: ${String(error)}`);
        await pause(RETRY_PAUSE_MS);
      }
    }
  }

  /** May be done twice where it is not known whether the first was. */
  #fill(): Promise<unknown> {
    return this.#retry('its tables', () =>
      this.#other.tenant(this.tenant).exec(
        `CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, value);
         CREATE TABLE IF NOT EXISTS load(n);
         INSERT OR REPLACE INTO t VALUES (1, '${this.#value}'), (2, '${this.#value}');`,
        { timeoutMs: 5_000 },
      ),
    );
  }

  #set(value: string): Promise<unknown> {
    const update = this.#other.tenant(this.tenant).prepare('UPDATE t SET value = ?', { timeoutMs: 5_000 });
    return this.#retry('an update', () => update.run(value));
  }

  /** Writes until the end; into a file without tables, and into none, these fail. */
  async #write(): Promise<void> {
    const insert = this.#rig.probe
      .tenant(this.tenant)
      .prepare('INSERT INTO load VALUES (?)', { timeoutMs: 2_000 });
    for (let n = 1; !this.#closing.signal.aborted; n++) {
      await insert.run(n).catch(error => {
        if (!isOnewriterError(error)) throw error;
      });
      await pause(5);
    }
  }

  async #killLeader(afterMs: number): Promise<void> {
    await pause(afterMs);
    const leader = await this.#rig.leader();
    await leader.kill();
  }

  async #ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${this.#rig.gateway!.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#rig.token}`, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(RECOVERY_MS),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  async #delete(): Promise<void> {
    // Something always waits there, as others keep writing.
    const path = `/v1/tenants/${this.tenant}?discardQueued=true`;
    const { status, body } = await this.#ask('DELETE', path, undefined, { 'confirm-delete': this.tenant });
    // Gone with an earlier attempt that was not answered, and not made since.
    if (status !== 200 && status !== 404) throw new Error(JSON.stringify(body));
  }

  async #cli(...args: string[]): Promise<string> {
    const { redis, dataDir } = this.#rig;
    const env = { ONEWRITER_REDIS_URL: redis.url, ONEWRITER_DATA_DIR: dataDir };
    const command = await spawnProcess(process.execPath, [CLI_MAIN, ...args, '--json'], { env });
    const { code } = await command.exited;
    if (code !== 0) throw new Error(`onewriter ${args[0]}: exit code ${code}: ${command.logs()}`);
    return command.stdout();
  }

  async #backup(): Promise<string> {
    const [backup] = JSON.parse(await this.#retry('a backup', () => this.#cli('backup', this.tenant))) as {
      path: string;
    }[];
    return backup!.path;
  }

  /** Through each API, the first read after the answer. */
  async #assertFresh(when: string): Promise<void> {
    const expected = this.#value;
    const see = (who: string, seen: unknown) => {
      if (seen === expected) return;
      const message = `${who} reads ${JSON.stringify(seen)} of ${this.tenant}, not ${JSON.stringify(expected)}`;
      throw new FaultFailure(`${message}, ${when}.`);
    };
    const byKey = 'SELECT value FROM t WHERE id = 1';
    const [answers, quick, slow, own] = await Promise.all([
      Promise.all(this.#readers.map(reader => this.#askReader(reader))),
      this.#query(byKey),
      this.#query('SELECT max(value) AS value FROM t'),
      this.#other.tenant(this.tenant).prepare(byKey).get(),
    ]);
    for (const { get, all, iterate, open } of answers) {
      see('An SDK reader in another process', get);
      if (all !== 2 || iterate !== 2 || Array.isArray(open)) {
        const read = JSON.stringify({ all, iterate, open });
        throw new FaultFailure(`A reader of ${this.tenant} reads a mix of two files (${read}), ${when}.`);
      }
    }
    see('The gateway by key', quick);
    see('The gateway', slow);
    see('An SDK reader', own?.['value']);
  }

  async #askReader(reader: SpawnedProcess): Promise<ReaderAnswer> {
    const before = reader.stdout().length;
    reader.child.send('read');
    const line = () => reader.stdout().slice(before);
    await waitFor(() => line().endsWith('\n') || reader.child.exitCode !== null, {
      timeoutMs: RECOVERY_MS,
      what: 'a reader',
      intervalMs: 2,
    });
    if (!line().endsWith('\n')) throw new FaultFailure(`A reader of ${this.tenant} ended: ${reader.logs()}`);
    return JSON.parse(line()) as ReaderAnswer;
  }

  async #query(sql: string): Promise<unknown> {
    const { body } = await this.#ask('POST', `/v1/tenants/${this.tenant}/query`, { sql });
    return (body as { rows?: { value: unknown }[] }).rows?.[0]?.value ?? body;
  }

  /** The receipt of a write that was just answered is known everywhere. */
  async #assertReceipts(when: string): Promise<void> {
    const receipt = await this.#retry('a write', async () => {
      const sent = await this.#other
        .tenant(this.tenant)
        .enqueue('INSERT INTO load VALUES (0)', [], { timeoutMs: 5_000 });
      await sent.committed({ timeoutMs: 5_000 });
      return sent;
    });
    const path = `/v1/tenants/${this.tenant}/receipts/${receipt.id}`;
    const states = await Promise.all([
      this.#rig.probe.tenant(this.tenant).receipt(receipt.id).status(),
      this.#ask('GET', path).then(({ body }) => body as { state?: string }),
    ]);
    for (const { state } of states) {
      if (state === 'committed') continue;
      throw new FaultFailure(`A receipt just answered of ${this.tenant} is ${state}, ${when}.`);
    }
  }

  #pipeline(requests: unknown[], baton?: string) {
    return this.#ask('POST', `/t/${this.tenant}/v2/pipeline`, { baton, requests });
  }

  /** A transaction that has read the present file. */
  async #beginReading(): Promise<string> {
    const { body } = await this.#pipeline([
      { type: 'execute', stmt: { sql: 'BEGIN' } },
      { type: 'execute', stmt: { sql: 'SELECT value FROM t' } },
    ]);
    return String(body['baton']);
  }

  async #assertCommitFails(baton: string, when: string): Promise<void> {
    const requests = ["UPDATE t SET value = 'of the old transaction'", 'COMMIT'].map(sql => ({
      type: 'execute',
      stmt: { sql },
    }));
    const { status, body } = await this.#pipeline(requests, baton);
    const results = (body['results'] ?? []) as { type: string }[];
    if (status === 200 && results.every(({ type }) => type === 'ok')) {
      throw new FaultFailure(`A transaction of the old ${this.tenant} was committed, ${when}.`);
    }
  }

  /** A follower, and a client that resumes with an id of the old file, gets a gap and misses no commit of the present file. */
  async #assertEvents(lastEventId: string, when: string): Promise<void> {
    const { gateway, token } = this.#rig;
    const url = `${gateway!.url}/v1/tenants/${this.tenant}/events`;
    const seqs = (await this.#rig.probe.tenant(this.tenant).prepare(COMMITS).all()) as { seq: number }[];
    const resumed = new EventFollower(url, token, lastEventId);
    try {
      for (const [who, follower] of [
        ['A follower of events', this.#follower],
        ['A follower that resumed with an id of the old file', resumed],
      ] as const) {
        const isComplete = () => seqs.every(({ seq }) => follower.sinceGap?.has(seq));
        await waitFor(isComplete, { timeoutMs: RECOVERY_MS, what: 'events', intervalMs: 20 }).catch(() => {
          const missed = seqs.filter(({ seq }) => !follower.sinceGap?.has(seq)).map(({ seq }) => seq);
          const gap = follower.sinceGap === undefined ? 'got no gap event' : 'got a gap event';
          throw new FaultFailure(
            `${who} of ${this.tenant} ${gap} and misses commits ${missed.slice(0, 10).join(', ')}, ${when}.`,
          );
        });
      }
    } finally {
      await resumed.close();
    }
    this.#follower.forget();
  }
}
