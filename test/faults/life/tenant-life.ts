import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { isOnewriterError, realDatabasePath, tenantFile, trashDir } from '@onewriter/protocol';
import { pauseTenant, resumeTenant } from '@onewriter/tenants';
import type { Random } from '@onewriter/testkit';
import { CLI_MAIN, spawnProcess } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { FaultFailure } from '../fault-failure.ts';
import { monotonicMs } from '../journal.ts';
import { must } from '../machine.ts';
import type { Rig } from '../rig.ts';
import type { History, LifeCall, Whole } from './history.ts';
import { createScript, parseWhole, WHOLE_SQL } from './statements.ts';

/*
 * What happens to a tenant as a whole, by the commands and routes that people use: pause and resume, backup, restore in its
 * place, deletion, creation, restore of what was deleted. One of these at a time for each tenant; meanwhile others pause and
 * resume it.
 *
 * A process may die in the middle, so an answer that does not come says nothing. The outcome of an operation is read from the
 * tenant's file afterwards: it names its creation and its last restore.
 */

/** What can be done to a tenant. */
export type LifeEvent = 'pause' | 'replace' | 'recreate' | 'restoreDeleted';

const GROUP = 'default';
/** For a command, and for one request. */
const COMMAND_MS = 40_000;
const REQUEST_MS = 20_000;
const EVENT_MS = 10_000;
/** For a tenant to be there again, as it was or new. */
const SETTLE_MS = 40_000;
const RETRY_MS = 50;

interface Backup {
  readonly path: string;
  readonly state: Whole;
}

export interface TenantLifeOptions {
  readonly rig: Rig;
  readonly history: History;
  readonly random: Random;
  readonly tenant: string;
  /** For copies, backups and what else is put aside. */
  readonly folder: string;
}

/** One tenant's life. */
export class TenantLife {
  readonly tenant: string;
  readonly #rig: Rig;
  readonly #history: History;
  readonly #random: Random;
  readonly #folder: string;
  readonly #backups: Backup[] = [];
  /** Files of the past whose last state is in the history. */
  readonly #kept = new Set<string>();
  /** Those that their own file has named so far. */
  readonly #incarnations = new Set<string>();
  #current: string | undefined;
  #creations = 0;
  #copies = 0;
  /** What was done, for people. */
  readonly done: string[] = [];

  constructor({ rig, history, random, tenant, folder }: TenantLifeOptions) {
    this.tenant = tenant;
    this.#rig = rig;
    this.#history = history;
    this.#random = random;
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  /** Creates it for the first time. */
  async begin(): Promise<void> {
    await this.#change('create', async () => {});
  }

  /** Runs one operation on it, and reads the outcome. */
  async run(event: LifeEvent): Promise<void> {
    this.done.push(event);
    switch (event) {
      case 'pause':
        await this.#pause();
        break;
      case 'replace': {
        const backup = this.#random.pick(this.#backups);
        await this.#meddle(() =>
          this.#change(
            'replace',
            () => this.#command('restore', backup.path, this.tenant, '--replace'),
            backup,
          ),
        );
        break;
      }
      case 'recreate':
        await this.#meddle(() => this.#change('create', () => this.#delete()));
        break;
      case 'restoreDeleted': {
        const backup = this.#random.pick(this.#backups);
        await this.#meddle(() => this.#change('restore', () => this.#deleteAndRestore(backup), backup));
        break;
      }
      default:
        event satisfies never;
    }
  }

  /** Takes a backup, which is a read of everything, too. */
  async backup(): Promise<void> {
    const invoked = this.#history.tick();
    const output = await this.#command('backup', this.tenant, '--out', join(this.#folder, 'backups'));
    const [taken] = (output ?? []) as { readonly path: string | null }[];
    if (taken?.path == null) return; // a process that it needs was away
    const state = await this.#readCopy(taken.path);
    const completed = this.#history.tick();
    if (state === undefined) return; // the file has no tables yet
    const seen = { kind: 'whole', ...state } as const;
    this.#history.add({ kind: 'read', tenant: this.tenant, invoked, completed, door: 'backup', seen });
    this.#backups.push({ path: taken.path, state });
  }

  /** Reads everything through the gateway's export. */
  async export(): Promise<void> {
    const invoked = this.#history.tick();
    const answer = await this.#request('GET', `/v1/tenants/${this.tenant}/export?format=sqlite`);
    if (answer?.status !== 200) return;
    const path = join(this.#folder, `export-${++this.#copies}.db`);
    await writeFile(path, answer.body);
    const state = readFile(path);
    if (state === undefined) return;
    const seen = { kind: 'whole', ...state } as const;
    const completed = this.#history.tick();
    this.#history.add({ kind: 'read', tenant: this.tenant, invoked, completed, door: 'export', seen });
  }

  get hasBackup(): boolean {
    return this.#backups.length > 0;
  }

  /** No process holds it any more; its last state is noted. No client may write any more. */
  async end(): Promise<void> {
    await resumeTenant(this.#rig.direct, GROUP, this.tenant);
    await this.#collectKept();
    const path = tenantFile(this.#rig.dataDir, this.tenant);
    this.#noteKept(readFile(realDatabasePath(path), true));
  }

  async #pause(): Promise<void> {
    const path = `/v1/tenants/${this.tenant}`;
    await this.#request('POST', `${path}/pause`);
    await pause(this.#random.between(0, 300));
    await this.#request('POST', `${path}/resume`);
    // Also where the gateway was away.
    await resumeTenant(this.#rig.direct, GROUP, this.tenant);
  }

  /** Others pause and resume the tenant while something is done to it. */
  async #meddle(work: () => Promise<void>): Promise<void> {
    const { direct } = this.#rig;
    let isDone = false;
    const meddling = (async () => {
      while (!isDone) {
        try {
          if (this.#random.oneIn(10)) await pauseTenant(direct, GROUP, this.tenant, 'faults');
          else await resumeTenant(direct, GROUP, this.tenant);
        } catch (error) {
          // Another holder was first, or no broker leads.
          if (!isOnewriterError(error)) throw error;
        }
        await pause(this.#random.between(0, 40));
      }
    })();
    try {
      await work();
    } finally {
      isDone = true;
      await meddling;
      await resumeTenant(direct, GROUP, this.tenant);
    }
  }

  /** Notes which file the tenant has after `work`, whatever its answer was. */
  async #change(what: LifeCall['what'], work: () => Promise<unknown>, backup?: Backup): Promise<void> {
    const { tenant } = this;
    const history = this.#history;
    const position = this.#current === undefined ? undefined : await this.#firstEvent();
    const invoked = history.tick();
    await work();
    const state = await this.#settle();
    const completed = history.tick();
    if (what !== 'replace') history.add({ kind: 'absence', tenant, invoked, completed });
    const { incarnation } = state;
    if (!this.#incarnations.has(incarnation)) {
      this.#incarnations.add(incarnation);
      const isRestored = backup !== undefined && !this.#isOwn(incarnation);
      history.add({
        ...{ kind: 'life', tenant, invoked, completed, incarnation },
        // Where its file could not be restored, a new one was made.
        what: isRestored ? what : 'create',
        ...(isRestored ? { base: backup.state, commitSeq: this.#restoredAt(incarnation) } : {}),
      });
    }
    await this.#collectKept();
    const of = this.#current;
    this.#current = incarnation;
    if (of === undefined || position === undefined) return;
    const began = history.tick();
    const event = await this.#firstEvent(position.id);
    if (event === undefined) return;
    const interval = { tenant, invoked: began, completed: history.tick() };
    history.add({ kind: 'position', ...interval, of, at: incarnation, event: event.type });
  }

  /** The first event of the tenant's stream of commits. @returns undefined where the gateway is away, or the tenant */
  async #firstEvent(after?: string): Promise<{ readonly type: string; readonly id: string } | undefined> {
    const { gateway, token } = this.#rig;
    await gateway!.waitUntilReady();
    const gone = new AbortController();
    const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(EVENT_MS)]);
    try {
      const response = await fetch(`${gateway!.url}/v1/tenants/${this.tenant}/events`, {
        headers: {
          authorization: `Bearer ${token}`,
          ...(after === undefined ? {} : { 'last-event-id': after }),
        },
        signal,
      });
      let text = '';
      for await (const bytes of response.body!) {
        text += Buffer.from(bytes).toString();
        const [, type, id] = /^event: (\w+)\nid: (\S+)\n/m.exec(text) ?? [];
        if (type !== undefined && id !== undefined) return { type, id };
      }
      return undefined;
    } catch (error) {
      this.#rig.note(`${this.tenant}: events: ${String(error)}`);
      return undefined;
    } finally {
      gone.abort();
    }
  }

  /** Whether it was created, not restored. */
  #isOwn(incarnation: string): boolean {
    return !incarnation.includes('/');
  }

  /** The commit that a restore is, as the ledger of the file has it. */
  #restoredAt(incarnation: string): number {
    const db = new Database(tenantFile(this.#rig.dataDir, this.tenant), { readonly: true });
    try {
      const job = incarnation.slice(incarnation.indexOf('/') + 1);
      const sql = 'SELECT commit_seq FROM sqlite_onewriter_ledger WHERE job_id = ?';
      return db.prepare<[string], number>(sql).pluck().get(job) ?? 0;
    } finally {
      db.close();
    }
  }

  /**
   * Waits until the tenant has a file with tables, and makes one where it has none. Looks where its path leads, and asks no part of
   * what is tested: a reader that misses a new file must not hide that there is one.
   * @returns what it holds
   */
  async #settle(): Promise<Whole> {
    const due = monotonicMs() + SETTLE_MS;
    const path = tenantFile(this.#rig.dataDir, this.tenant);
    while (monotonicMs() < due) {
      const state = existsSync(path) ? readFile(realDatabasePath(path), true) : undefined;
      if (state !== undefined) return state;
      await this.#create();
      await pause(RETRY_MS);
    }
    throw new FaultFailure(`Tenant ${this.tenant} has no file with tables after ${SETTLE_MS} ms.`);
  }

  async #create(): Promise<void> {
    const script = createScript(`${this.tenant}-${++this.#creations}`);
    const answer = await this.#request('PUT', `/v1/tenants/${this.tenant}`, { script });
    // A write that had waited was first, and made an empty one.
    if (answer?.status === 200)
      await this.#request('POST', `/v1/tenants/${this.tenant}/script`, { sql: script });
  }

  /** @returns whether the gateway said that it is deleted */
  async #delete(): Promise<boolean> {
    const discard = this.#random.oneIn(2);
    for (let attempt = 0; attempt < 10; attempt++) {
      const path = `/v1/tenants/${this.tenant}?discardQueued=${discard || attempt > 3}`;
      const answer = await this.#request('DELETE', path, undefined, { 'confirm-delete': this.tenant });
      if (answer?.status === 200) return true;
      if (answer?.status === 404) return true;
      await pause(RETRY_MS);
    }
    return false;
  }

  async #deleteAndRestore({ path }: Backup): Promise<void> {
    if (!(await this.#delete())) return;
    const restored = await this.#command('restore', path, this.tenant);
    // A write that had waited was first, and made an empty one.
    if (restored === undefined) await this.#command('restore', path, this.tenant, '--replace');
  }

  /** @returns undefined where there was no answer */
  async #request(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly status: number; readonly body: Buffer } | undefined> {
    const { gateway, token } = this.#rig;
    await gateway!.waitUntilReady();
    try {
      const response = await fetch(`${gateway!.url}${path}`, {
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(REQUEST_MS),
      });
      const bytes = Buffer.from(await response.arrayBuffer());
      if (!response.ok)
        this.#rig.note(`${this.tenant}: ${method} ${path}: ${bytes.toString().slice(0, 300)}`);
      return { status: response.status, body: bytes };
    } catch (error) {
      this.#rig.note(`${this.tenant}: ${method} ${path}: ${String(error)}`);
      return undefined;
    }
  }

  /** Runs a command. @returns what it printed as JSON; undefined where it failed */
  async #command(...args: string[]): Promise<unknown> {
    const child = await spawnProcess(process.execPath, [CLI_MAIN, ...args, '--json'], {
      env: this.#rig.commandEnvironment(),
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), COMMAND_MS);
    const { code, signal } = await child.exited;
    clearTimeout(timer);
    if (signal !== null)
      throw new FaultFailure(`\`onewriter ${args.join(' ')}\` did not end in ${COMMAND_MS} ms.`);
    if (code !== 0) {
      this.#rig.note(`${this.tenant}: onewriter ${args.join(' ')}: ${child.logs().slice(-500)}`);
      return undefined;
    }
    return JSON.parse(child.stdout()) as unknown;
  }

  /** Notes the last state of each file that was put aside since: in the trash, or beside the one that replaced it. */
  async #collectKept(): Promise<void> {
    const { dataDir } = this.#rig;
    const path = tenantFile(dataDir, this.tenant);
    const trash = trashDir(dataDir);
    const deleted = (existsSync(trash) ? readdirSync(trash) : [])
      .filter(name => name.startsWith(`${this.tenant}.`))
      .flatMap(name => [join(trash, name, basename(path)), ...replacedFiles(join(trash, name))]);
    for (const file of [...deleted, ...replacedFiles(dirname(path))]) {
      // A file beside one that is deleted goes to the trash with it.
      const key = basename(file).includes('.replaced-') ? basename(file) : file;
      if (this.#kept.has(key) || !existsSync(file)) continue;
      this.#kept.add(key);
      this.#noteKept(await this.#readCopy(file));
    }
  }

  #noteKept(state: Whole | undefined): void {
    if (state === undefined) return; // an empty file, which a write made that had waited
    const tick = this.#history.tick();
    this.#history.add({ kind: 'kept', tenant: this.tenant, invoked: tick, completed: tick, state });
  }

  /** Reads a copy: this process may have the file itself open under another name, and would share its locks and index. */
  async #readCopy(file: string): Promise<Whole | undefined> {
    const copy = join(this.#folder, `copy-${++this.#copies}.db`);
    await must('cp', '-L', file, copy);
    if (existsSync(`${realDatabasePath(file)}-wal`))
      await must('cp', `${realDatabasePath(file)}-wal`, `${copy}-wal`);
    return readFile(copy);
  }
}

/** What restores have put aside in a tenant's folder. */
function replacedFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter(name => name.includes('.replaced-') && !/-(wal|shm|journal)$/.test(name))
    .map(name => join(folder, name));
}

/** Undefined where the file has no tables. @param readonly of a file that is in use */
function readFile(path: string, readonly = false): Whole | undefined {
  const db = new Database(path, { readonly, fileMustExist: true });
  try {
    const hasTables = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'accounts'").get() !== undefined;
    return hasTables ? parseWhole(db.prepare(WHOLE_SQL).pluck().get()) : undefined;
  } finally {
    db.close();
  }
}
