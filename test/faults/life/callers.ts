import { setTimeout as pause } from 'node:timers/promises';
import { connect, type Onewriter, OnewriterError } from '@onewriter/sdk';
import { createRandom, deriveSeed, type Random } from '@onewriter/testkit';
import type { OperationStatement } from '../operation.ts';
import { Slots } from '../slots.ts';
import {
  type Answer,
  type Door,
  type GatewayAddress,
  gatewayDoors,
  type ReadDoor,
  ReadFailure,
  readDoors,
  sdkDoors,
} from './doors.ts';
import {
  ACCOUNTS,
  type Change,
  type History,
  REGISTERS,
  type Seen,
  UNWRITTEN,
  type Whole,
} from './history.ts';
import {
  BALANCES_SQL,
  LIST_SQL,
  parseWhole,
  REGISTER_SQL,
  statementsOfChange,
  WHOLE_SQL,
} from './statements.ts';

/*
 * Callers: some SDK clients, each with several writes under way, and callers over HTTP. They write and read through all APIs,
 * ask receipts, and note everything in the history. They know nothing of what happens to the tenants.
 */

export interface CallersOptions {
  readonly history: History;
  readonly seed: number;
  readonly tenants: readonly string[];
  readonly redisUrl: string;
  readonly dataDir: string;
  readonly gateway: GatewayAddress;
}

const SDK_CLIENTS = 3;
const HTTP_CALLERS = 2;
/** Calls of one caller under way. */
const CONCURRENCY = 16;
/** Between two calls of one caller, on average. */
const PAUSE_MS = 15;
const WRITE_TIMEOUT_MS: readonly [min: number, max: number] = [4_000, 8_000];
/** After a call was refused or not answered. */
const REFUSED_PAUSE_MS = 50;
const MAX_THINK_MS = 80;
const LISTS = ['a', 'b', 'c'] as const;
/** Receipts to ask; older ones are forgotten. */
const MAX_RECEIPTS = 500;

interface KnownReceipt {
  readonly tenant: string;
  readonly write: number;
  readonly id: string;
}

interface Caller {
  readonly name: string;
  readonly random: Random;
  readonly client: Onewriter;
  readonly writes: readonly Door[];
  readonly reads: readonly ReadDoor[];
}

/** All callers of a round. */
export class Callers {
  readonly #options: CallersOptions;
  readonly #clients: Onewriter[] = [];
  readonly #loops: Promise<void>[] = [];
  readonly #receipts: KnownReceipt[] = [];
  /** What a register held when it was last seen, so that many a compare-and-set succeeds. */
  readonly #registers = new Map<string, string>();
  #writes = 0;
  #isStopping = false;
  #failure: unknown;

  private constructor(options: CallersOptions) {
    this.#options = options;
  }

  static async start(options: CallersOptions): Promise<Callers> {
    const callers = new Callers(options);
    try {
      await callers.#start();
      return callers;
    } catch (error) {
      await callers.stop();
      throw error;
    }
  }

  /** Issues nothing more, and waits for what is under way: each call has a deadline. @throws of a fault of this program */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#loops);
    await Promise.all(this.#clients.map(client => client.close({ timeoutMs: WRITE_TIMEOUT_MS[1] })));
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #start(): Promise<void> {
    const { seed, redisUrl, dataDir, gateway } = this.#options;
    for (let index = 0; index < SDK_CLIENTS; index++) {
      this.#clients.push(await connect({ redis: redisUrl, dataDir }));
    }
    const caller = (name: string, client: Onewriter, writes: readonly Door[]): Caller => {
      const random = createRandom(deriveSeed(seed, name));
      return { name, random, client, writes, reads: readDoors(client, gateway) };
    };
    const all = [
      ...this.#clients.map((client, index) => caller(`sdk-${index}`, client, sdkDoors(client))),
      ...Array.from({ length: HTTP_CALLERS }, (_, index) =>
        caller(`http-${index}`, this.#clients[index]!, gatewayDoors(gateway)),
      ),
    ];
    for (const one of all) {
      this.#loops.push(
        this.#run(one).catch((error: unknown) => {
          this.#isStopping = true;
          this.#failure ??= error;
        }),
      );
    }
  }

  async #run(caller: Caller): Promise<void> {
    const { random } = caller;
    const slots = new Slots(CONCURRENCY);
    let failure: unknown;
    while (!this.#isStopping && failure === undefined) {
      await slots.free();
      await pause(random.integer(2 * PAUSE_MS + 1));
      if (this.#isStopping) break;
      slots.take();
      void this.#call(caller)
        .catch((error: unknown) => {
          failure ??= error;
        })
        .finally(() => slots.giveBack());
    }
    await slots.allFree();
    if (failure !== undefined) throw failure;
  }

  async #call(caller: Caller): Promise<void> {
    const { random } = caller;
    const tenant = random.pick(this.#options.tenants);
    const what = random.weighted({ write: 60, read: 35, receipt: 5 });
    let isAnswered = true;
    if (what === 'write') isAnswered = await this.#write(caller, tenant);
    else if (what === 'read') isAnswered = await this.#read(caller, tenant);
    else await this.#ask(caller, tenant);
    if (!isAnswered) await pause(REFUSED_PAUSE_MS);
  }

  /** Sent before its first `await`, so that the order of issue is the order of calls. */
  async #write(caller: Caller, tenant: string): Promise<boolean> {
    const { random, name } = caller;
    const { history } = this.#options;
    const id = ++this.#writes;
    const { change, expected } = this.#draw(random, tenant, id);
    const plain = statementsOfChange(change, expected?.value);
    const doors = caller.writes.filter(({ takes }) => (plain.length > 1 ? takes.many : takes.one));
    const door = random.pick(doors);
    const isRead = door.reads && plain.length > 1 && random.oneIn(2);
    const read = { sql: WHOLE_SQL, params: [] };
    const statements: OperationStatement[] = isRead ? [read, ...plain, read] : [...plain];
    const options = {
      timeoutMs: random.between(...WRITE_TIMEOUT_MS),
      thinkMs: random.oneIn(2) ? random.between(1, MAX_THINK_MS) : 0,
    };
    const invoked = history.tick();
    const answer = await door.write(tenant, statements, options);
    const completed = history.tick();
    const { results } = answer;
    const { before, after } = isRead ? wholesOf(answer, statements.length) : {};
    // The last row that was to be appended says whether the register had the expected value.
    const isRefused =
      answer.outcome === 'committed' &&
      expected !== undefined &&
      results[plain.length - 1 + (isRead ? 1 : 0)]!.changes === 0;
    history.add({
      ...{ kind: 'write', id, tenant, invoked, completed, caller: name, door: door.name, change, expected },
      ...{ inOrder: door.inOrder, before, after: isRefused ? undefined : after },
      outcome: isRefused ? 'refused' : answer.outcome,
      ...(answer.outcome === 'committed'
        ? { commitSeq: answer.commitSeq }
        : { code: answer.code, retryable: answer.retryable || isOwnFailure(change, answer.code) }),
    });
    if (answer.receiptId !== undefined) this.#keepReceipt({ tenant, write: id, id: answer.receiptId });
    return answer.outcome === 'committed';
  }

  #draw(
    random: Random,
    tenant: string,
    id: number,
  ): { change: Change; expected?: { register: number; value: string } } {
    const list = random.pick(LISTS);
    switch (random.weighted({ append: 4, several: 2, set: 2, compareAndSet: 3, transfer: 2 })) {
      case 'append':
        return { change: { appends: [{ list, value: `${id}.0` }] } };
      case 'several': {
        const lists = LISTS.filter(() => random.oneIn(2));
        const appends = [list, ...lists].map((one, part) => ({ list: one, value: `${id}.${part}` }));
        return { change: { appends } };
      }
      case 'transfer': {
        const from = random.integer(ACCOUNTS);
        const to = (from + 1 + random.integer(ACCOUNTS - 1)) % ACCOUNTS;
        const transfer = { from, to, amount: random.between(1, 300) };
        return { change: { appends: [{ list, value: `${id}.0` }], transfer } };
      }
      case 'set': {
        const { change } = setRegister(random.integer(REGISTERS), id);
        return { change };
      }
      case 'compareAndSet': {
        const { register, change } = setRegister(random.integer(REGISTERS), id);
        const value = this.#registers.get(`${tenant} ${register}`) ?? UNWRITTEN;
        return { change, expected: { register, value } };
      }
    }
  }

  async #read(caller: Caller, tenant: string): Promise<boolean> {
    const { random } = caller;
    const { history } = this.#options;
    const door = random.pick(caller.reads);
    const { sql, params, parse } = drawRead(random);
    const invoked = history.tick();
    try {
      const rows = await door.read(tenant, sql, params);
      const completed = history.tick();
      const seen = parse(rows);
      history.add({ kind: 'read', tenant, invoked, completed, door: door.name, seen });
      if (seen.kind === 'register') this.#registers.set(`${tenant} ${seen.register}`, seen.value);
      if (seen.kind === 'whole') this.#remember(tenant, seen);
      return true;
    } catch (error) {
      if (!(error instanceof ReadFailure)) throw error;
      if (!error.retryable) {
        const { code } = error;
        history.add({
          kind: 'failed-read',
          tenant,
          invoked,
          completed: history.tick(),
          door: door.name,
          code,
        });
      }
      return false;
    }
  }

  #remember(tenant: string, { registers }: Whole): void {
    for (const [register, value] of registers.entries()) this.#registers.set(`${tenant} ${register}`, value);
  }

  /** What the receipt of an earlier write says; also of one whose tenant is gone. */
  async #ask({ random, client }: Caller, tenant: string): Promise<void> {
    const { history } = this.#options;
    const known = this.#receipts.filter(receipt => receipt.tenant === tenant);
    if (known.length === 0) return;
    const { id, write } = random.pick(known);
    const invoked = history.tick();
    try {
      const status = await client.tenant(tenant).receipt(id).status({ timeoutMs: WRITE_TIMEOUT_MS[0] });
      if (status.state === 'pending') return;
      const commitSeq = status.state === 'committed' ? status.result.commitSeq : undefined;
      const completed = history.tick();
      history.add({ kind: 'receipt', tenant, invoked, completed, of: write, state: status.state, commitSeq });
    } catch (error) {
      // It says nothing where it cannot be asked; that is no answer about the write.
      if (!(error instanceof OnewriterError)) throw error;
    }
  }

  #keepReceipt(receipt: KnownReceipt): void {
    this.#receipts.push(receipt);
    if (this.#receipts.length > MAX_RECEIPTS) this.#receipts.shift();
  }
}

function setRegister(register: number, id: number): { register: number; change: Change } {
  const value = `${id}.0`;
  return { register, change: { appends: [{ list: `r${register}`, value }], sets: [{ register, value }] } };
}

/** An account may not have enough. */
function isOwnFailure({ transfer }: Change, code: string): boolean {
  return transfer !== undefined && code === 'CONSTRAINT_VIOLATION';
}

/** What a transaction that begins and ends with a read of all has seen. */
function wholesOf({ results }: Answer, statements: number): { before?: Whole; after?: Whole } {
  const whole = (index: number) => {
    const text = results[index]?.rows[0]?.[0];
    return text === undefined ? undefined : { ...parseWhole(text), seq: null };
  };
  const before = whole(0);
  const after = results.length >= statements ? whole(statements - 1) : undefined;
  return { ...(before && { before }), ...(after && { after }) };
}

function drawRead(random: Random): {
  readonly sql: string;
  readonly params: OperationStatement['params'];
  readonly parse: (rows: readonly (readonly unknown[])[]) => Seen;
} {
  const strings = (rows: readonly (readonly unknown[])[]) => rows.map(([value]) => String(value));
  switch (random.weighted({ whole: 5, list: 4, register: 4, balances: 1 })) {
    case 'whole':
      return { sql: WHOLE_SQL, params: [], parse: rows => ({ kind: 'whole', ...parseWhole(rows[0]?.[0]) }) };
    case 'list': {
      const list = random.pick(LISTS);
      return {
        ...{ sql: LIST_SQL, params: [list] },
        parse: rows => ({ kind: 'list', list, values: strings(rows) }),
      };
    }
    case 'register': {
      const register = random.integer(REGISTERS);
      return {
        ...{ sql: REGISTER_SQL, params: [register] },
        parse: rows => ({ kind: 'register', register, value: strings(rows)[0] ?? 'none' }),
      };
    }
    case 'balances':
      return {
        ...{ sql: BALANCES_SQL, params: [] },
        parse: rows => ({ kind: 'balances', balances: rows.map(([balance]) => Number(balance)) }),
      };
  }
}
