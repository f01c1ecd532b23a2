import {
  ACCOUNTS,
  type Call,
  type Change,
  INITIAL_BALANCE,
  type LifeCall,
  REGISTERS,
  type ReceiptCall,
  rowText,
  type Seen,
  UNWRITTEN,
  type Whole,
  type WriteCall,
} from './history.ts';

/*
 * Decides whether a history of tenants is one that could have come about with one call after the other (strict
 * serializability, of each tenant alone).
 *
 * The order of writes is not searched for: every write appends to a list, and the lists of a tenant lie in one table, so the
 * last state of a file is the order of all its writes. What was put aside by a deletion or restore keeps its last state, too:
 *
 *   incarnation 1   w1 w2 w3 w4 w5 │ deleted
 *   incarnation 2                    w6 w7 │ replaced by a backup of the time after w2
 *   incarnation 3   w1 w2                    w8 …
 *   points          0  …         5   6     8    9  10
 *
 * Each point of that line is a state of the tenant, computed from what the writes do. A call stands at a point: a write where
 * it first appears, a read at any whose state is what it saw. From left to right in the order of invocation each call gets the
 * first of its points that is not left of a call that had completed before. Where there is none, the history has no order.
 * (Taking the first is right: it leaves most to those that follow.)
 *
 * One thing is allowed besides (ADR 0026, "Cost accepted"): while a restore puts a file in the place of another, one read may
 * see the new file and a later one the last state of the old. No client may write then. It ends with the first write to the new
 * file, and with the restore.
 */

/** What can be wrong. */
export type FindingKind =
  /** A write was acknowledged, and no file has it. */
  | 'lost'
  /** A write was acknowledged with a number of one file, and only another has it. */
  | 'vanished'
  /** A file has a write twice. */
  | 'doubled'
  /** A write was reported failed, and a file has it. */
  | 'false-failure'
  /** A file has an element that no write appended. */
  | 'unknown-row'
  /** A file has a part of a write, or parts with another write between them. */
  | 'partial'
  /** An element says that it follows others than it does: its write did not see those before it. */
  | 'misplaced'
  /** What was seen is no state of any file: a half of a transaction, or a mix of two states or files. */
  | 'torn'
  /** What was seen is a state, but not one of that time: stale, or seen before it was written. */
  | 'stale'
  /** A write stands before one that had completed when it was issued. */
  | 'out-of-time'
  /** The writes of one client are not in the order of issue. */
  | 'reordered'
  /** What a transaction read is not the state that it changed. */
  | 'not-isolated'
  /** What follows a restore does not begin with the backup. */
  | 'wrong-base'
  /** Commit numbers repeat, run backwards, or contradict what was seen with them. */
  | 'number'
  /** A receipt contradicts the files. */
  | 'wrong-receipt'
  /** A stream of events continued in another file as if it were the same, or with a gap in the same. */
  | 'wrong-position'
  /** Money came or went. */
  | 'balance'
  /** A call failed for no reason of its own. */
  | 'wrong-code'
  /** The history shows nothing: no write was acknowledged, or a file's last state is missing. */
  | 'incomplete';

export interface Finding {
  readonly kind: FindingKind;
  readonly tenant: string;
  readonly message: string;
}

/** Checks the calls of all tenants in a history. */
export function checkHistory(calls: readonly Call[]): Finding[] {
  const tenants = [...new Set(calls.map(({ tenant }) => tenant))].sort();
  return tenants.flatMap(tenant => {
    const checker = new TenantChecker(
      tenant,
      calls.filter(call => call.tenant === tenant),
    );
    return checker.check();
  });
}

/** The tenant after a number of writes. */
interface State {
  /** Elements in all lists. */
  readonly rows: number;
  /** Elements by list. */
  readonly counts: Readonly<Record<string, number>>;
  readonly registers: readonly string[];
  readonly balances: readonly number[];
}

/** One file of the tenant, from its creation or restore to its end. */
interface Incarnation {
  readonly id: string;
  readonly life: LifeCall;
  readonly isWhole: boolean;
  /** All elements, in order. */
  readonly log: readonly string[];
  readonly lists: ReadonlyMap<string, readonly string[]>;
  /** After 0, 1, 2 … writes. */
  readonly states: readonly State[];
  /** By number of elements, where a write ends. */
  readonly versions: ReadonlyMap<number, number>;
  /** By id of the write: after how many writes it is there. */
  readonly positions: ReadonlyMap<number, number>;
  /** How many writes it began with. */
  readonly base: number;
  /** The position of its state before any write. */
  readonly offset: number;
}

const INITIAL: State = {
  rows: 0,
  counts: {},
  registers: Array.from({ length: REGISTERS }, () => UNWRITTEN),
  balances: Array.from({ length: ACCOUNTS }, () => INITIAL_BALANCE),
};

class TenantChecker {
  readonly #tenant: string;
  readonly #calls: readonly Call[];
  readonly #findings: Finding[] = [];
  readonly #writes = new Map<number, WriteCall>();
  /** Id of the write by value of an element. */
  readonly #byValue = new Map<string, number>();
  readonly #incarnations: Incarnation[] = [];

  constructor(tenant: string, calls: readonly Call[]) {
    this.#tenant = tenant;
    this.#calls = calls;
  }

  check(): Finding[] {
    for (const call of this.#calls) {
      if (call.kind !== 'write') continue;
      this.#writes.set(call.id, call);
      for (const { value } of call.change.appends) this.#byValue.set(value, call.id);
    }
    const lives = this.#calls.filter(call => call.kind === 'life').sort((a, b) => a.invoked - b.invoked);
    for (const life of lives) this.#incarnations.push(this.#build(life));
    this.#checkOutcomes();
    this.#checkOrderOfClients();
    this.#checkIsolation();
    this.#checkNumbers();
    this.#checkBalances();
    this.#checkTime();
    this.#checkCodes();
    return this.#findings;
  }

  #add(kind: FindingKind, message: string): void {
    this.#findings.push({ kind, tenant: this.#tenant, message });
  }

  /** All that was seen of whole states, with where. */
  *#wholes(): Generator<{ readonly whole: Whole; readonly what: string }> {
    for (const call of this.#calls) {
      if (call.kind === 'read' && call.seen.kind === 'whole') {
        yield { whole: call.seen, what: `a read by ${call.door} (${call.invoked} to ${call.completed})` };
      } else if (call.kind === 'kept') yield { whole: call.state, what: 'the last state' };
    }
  }

  #build(life: LifeCall): Incarnation {
    const id = life.incarnation;
    let kept: Whole | undefined;
    let longest: readonly string[] = [];
    for (const call of this.#calls) {
      if (call.kind === 'kept' && call.state.incarnation === id) kept = call.state;
    }
    for (const { whole } of this.#wholes()) {
      if (whole.incarnation === id && whole.log.length > longest.length) longest = whole.log;
    }
    if (kept === undefined) this.#add('incomplete', `The last state of ${id} is not known.`);
    const log = kept?.log ?? longest;
    const lists = new Map<string, string[]>();
    const states: State[] = [INITIAL];
    const versions = new Map([[0, 0]]);
    const positions = new Map<number, number>();
    for (let row = 0; row < log.length; ) {
      const [, , value = ''] = log[row]!.split(' ');
      const writeId = this.#byValue.get(value);
      if (writeId === undefined) {
        this.#add('unknown-row', `${id} has ${log[row]}, which no write appended.`);
        row++;
        continue;
      }
      const before = states.at(-1)!;
      const { change } = this.#writes.get(writeId)!;
      const rows = this.#takeRows(id, log, row, writeId, lists);
      if (positions.has(writeId)) this.#add('doubled', `${id} has write ${writeId} again at row ${row}.`);
      else positions.set(writeId, states.length);
      states.push(apply(before, change, row + rows));
      versions.set(row + rows, states.length - 1);
      row += rows;
    }
    const base = this.#findBase(life, log, versions);
    const last = this.#incarnations.at(-1);
    const end = last === undefined ? 0 : last.offset + last.states.length;
    const isWhole = kept !== undefined;
    return { id, life, isWhole, log, lists, states, versions, positions, base, offset: end - base };
  }

  /** How many of the elements that follow are of this write; each is where it should be. */
  #takeRows(
    id: string,
    log: readonly string[],
    from: number,
    writeId: number,
    lists: Map<string, string[]>,
  ): number {
    const { appends } = this.#writes.get(writeId)!.change;
    let taken = 0;
    for (; taken < appends.length && from + taken < log.length; taken++) {
      const [list, place, value] = log[from + taken]!.split(' ') as [string, string, string];
      const expected = appends[taken]!;
      if (expected.list !== list || expected.value !== value) break;
      if (!lists.has(list)) lists.set(list, []);
      const values = lists.get(list)!;
      if (Number(place) !== values.length) {
        this.#add('misplaced', `${id} has ${log[from + taken]} behind ${values.length} others.`);
      }
      values.push(value);
    }
    if (taken < appends.length) {
      this.#add(
        'partial',
        `${id} has ${taken} of ${appends.length} rows of write ${writeId} at row ${from}.`,
      );
    }
    return Math.max(taken, 1);
  }

  /** @returns how many writes of the order are the backup's */
  #findBase({ base, incarnation }: LifeCall, log: readonly string[], versions: ReadonlyMap<number, number>) {
    if (base === undefined) return 0;
    const isPrefix = base.log.every((row, index) => log[index] === row);
    const version = versions.get(base.log.length);
    if (isPrefix && version !== undefined) return version;
    this.#add('wrong-base', `${incarnation} does not begin with the ${base.log.length} rows of its backup.`);
    return 0;
  }

  /** Where a write was applied, not inherited. */
  #ownPlaces(id: number): { readonly incarnation: Incarnation; readonly position: number }[] {
    return this.#incarnations.flatMap(incarnation => {
      const position = incarnation.positions.get(id);
      return position === undefined || position <= incarnation.base ? [] : [{ incarnation, position }];
    });
  }

  #checkOutcomes(): void {
    const isComplete = this.#incarnations.length > 0 && this.#incarnations.every(({ isWhole }) => isWhole);
    let committed = 0;
    for (const write of this.#writes.values()) {
      const places = this.#ownPlaces(write.id);
      if (write.outcome === 'committed') {
        committed++;
        if (places.length === 0 && isComplete) this.#add('lost', `No file has ${describe(write)}.`);
      } else if (write.outcome !== 'unknown' && places.length > 0) {
        this.#add('false-failure', `${places[0]!.incarnation.id} has ${describe(write)}.`);
      }
    }
    if (committed === 0) this.#add('incomplete', 'No write was acknowledged.');
  }

  #checkOrderOfClients(): void {
    for (const { id, positions, base } of this.#incarnations) {
      const last = new Map<string, WriteCall>();
      const inOrder = [...positions].filter(([, position]) => position > base).sort((a, b) => a[1] - b[1]);
      for (const [writeId] of inOrder) {
        const write = this.#writes.get(writeId)!;
        if (!write.inOrder) continue;
        const before = last.get(write.caller);
        if (before !== undefined && before.invoked > write.invoked) {
          this.#add('reordered', `In ${id} ${describe(write)} follows ${describe(before)}, issued later.`);
        } else last.set(write.caller, write);
      }
    }
  }

  #checkIsolation(): void {
    for (const write of this.#writes.values()) {
      const places = this.#ownPlaces(write.id);
      if (places.length === 0) continue;
      const fits = places.some(
        ({ incarnation, position }) =>
          (write.before === undefined || this.#version(incarnation, write.before) === position - 1) &&
          (write.after === undefined || this.#version(incarnation, write.after) === position) &&
          (write.expected === undefined ||
            incarnation.states[position - 1]!.registers[write.expected.register] === write.expected.value),
      );
      if (!fits) {
        const { incarnation, position } = places[0]!;
        this.#add(
          'not-isolated',
          `${describe(write)} is number ${position} of ${incarnation.id}, and it read another state (${write.before?.incarnation}, ${write.before?.log.length} rows).`,
        );
      }
    }
  }

  /** After how many writes a file looked like this; undefined where it never did. */
  #version(incarnation: Incarnation, whole: Whole): number | undefined {
    if (whole.incarnation !== incarnation.id) return undefined;
    const version = incarnation.versions.get(whole.log.length);
    if (version === undefined || version < incarnation.base) return undefined;
    const state = incarnation.states[version]!;
    const isSame =
      isEqual(whole.log, incarnation.log.slice(0, state.rows)) &&
      isEqual(whole.registers, state.registers) &&
      isEqual(whole.balances, state.balances);
    return isSame ? version : undefined;
  }

  /**
   * Within a file a commit number stands for one state, and numbers rise with the states; a restore is above all that it
   * replaced.
   */
  #checkNumbers(): void {
    let highestBefore = 0;
    for (const incarnation of this.#incarnations) {
      const { id, life, base } = incarnation;
      const reported: { readonly seq: number; readonly position: number; readonly write: WriteCall }[] = [];
      for (const [writeId, position] of incarnation.positions) {
        const write = this.#writes.get(writeId)!;
        const isHere = position > base && this.#ownPlaces(writeId).length === 1;
        if (isHere && write.commitSeq !== undefined) reported.push({ seq: write.commitSeq, position, write });
      }
      reported.sort((a, b) => a.position - b.position);
      const seen = [...this.#wholes()].flatMap(({ whole }) => {
        const version = this.#version(incarnation, whole);
        return version === undefined || whole.seq === null ? [] : [{ seq: whole.seq, version }];
      });
      seen.sort((a, b) => a.seq - b.seq || a.version - b.version);
      for (const [index, { seq, write }] of reported.entries()) {
        const before = reported[index - 1];
        if (before !== undefined && before.seq > seq) {
          this.#add('number', `In ${id} commit ${seq} of ${describe(write)} follows commit ${before.seq}.`);
        }
      }
      for (const [index, { seq, version }] of seen.entries()) {
        const before = seen[index - 1];
        if (before === undefined) continue;
        if (before.seq === seq ? before.version !== version : before.version > version) {
          this.#add(
            'number',
            `In ${id} commit ${before.seq} has ${before.version} writes, commit ${seq} has ${version}.`,
          );
        }
      }
      this.#compareNumbers(id, reported, seen);
      const numbers = [...reported, ...seen].map(({ seq }) => seq);
      const start = life.commitSeq ?? 0;
      const tooLow = reported.find(({ seq }) => seq <= start);
      if (tooLow !== undefined) {
        this.#add(
          'vanished',
          `${describe(tooLow.write)} was acknowledged as commit ${tooLow.seq}; ${id} begins at ${start}.`,
        );
      }
      const early = seen.find(({ seq }) => seq < start);
      if (early !== undefined) this.#add('number', `${id} begins at ${start}, and was seen at ${early.seq}.`);
      if (life.what === 'replace' && start > 0 && highestBefore >= start) {
        this.#add(
          'number',
          `A file that was replaced has commit ${highestBefore}, and ${id} begins at ${start}.`,
        );
      }
      highestBefore = numbers.reduce((a, b) => Math.max(a, b), 0);
    }
  }

  /** A state that was seen with a number has every write that was acknowledged up to it, and no other. */
  #compareNumbers(
    id: string,
    reported: readonly { readonly seq: number; readonly position: number; readonly write: WriteCall }[],
    seen: readonly { readonly seq: number; readonly version: number }[],
  ): void {
    for (const { seq, version } of new Map(seen.map(one => [one.seq, one])).values()) {
      const wrong = reported.find(one => one.seq <= seq !== one.position <= version);
      if (wrong === undefined) continue;
      const has = wrong.position <= version ? 'has' : 'does not have';
      this.#add(
        'number',
        `In ${id} commit ${seq} ${has} ${describe(wrong.write)}, acknowledged as commit ${wrong.seq}.`,
      );
    }
  }

  #checkBalances(): void {
    const check = (balances: readonly number[], what: string) => {
      const sum = balances.reduce((a, b) => a + b, 0);
      if (sum !== ACCOUNTS * INITIAL_BALANCE) this.#add('balance', `${what} has accounts of ${sum} in all.`);
    };
    for (const { whole, what } of this.#wholes()) check(whole.balances, what);
    for (const call of this.#calls) {
      if (call.kind === 'read' && call.seen.kind === 'balances')
        check(call.seen.balances, `A read by ${call.door}`);
    }
  }

  /** See the top of this file. */
  #checkTime(): void {
    const moments: { readonly at: number; readonly run: () => void }[] = [];
    let floor = -1;
    const stand = (call: Call, place: (floor: number) => number | undefined, holds = true) => {
      let point: number | undefined;
      const raise = (to: number) => {
        floor = Math.max(floor, to);
      };
      moments.push({
        at: call.invoked,
        run: () => {
          point = place(floor);
        },
      });
      // The end of a write with an unknown outcome is unknown, too.
      if (!holds) return;
      moments.push({
        at: call.completed,
        run: () => {
          if (point === undefined) return;
          const replacing = this.#replacingAt(point, call);
          raise(replacing === undefined ? point : replacing.offset + replacing.base - 1);
        },
      });
      if (call.kind !== 'read' && call.kind !== 'receipt') return;
      // What was held back of reads while a file was replaced.
      for (const { life } of this.#incarnations) {
        if (life.what === 'create' || life.completed < call.completed) continue;
        moments.push({
          at: life.completed,
          run: () => {
            if (point !== undefined && this.#replacingAt(point, call)?.life === life) raise(point);
          },
        });
      }
    };
    for (const call of this.#calls) {
      switch (call.kind) {
        case 'write':
          this.#standWrite(call, stand);
          break;
        case 'read':
          stand(call, from => this.#placeSeen(call.seen, from, `A read by ${call.door}`, call));
          break;
        case 'receipt':
          // A missing tenant has no state of a file.
          if (call.state === 'unknown' && this.#mayBeAbsent(call)) break;
          stand(call, from => this.#placeReceipt(call, from));
          break;
        case 'life': {
          const incarnation = this.#incarnations.find(({ life }) => life === call)!;
          const point = incarnation.offset + incarnation.base;
          stand(call, from => {
            if (point > from) return point;
            this.#add(
              'stale',
              `${call.incarnation} was seen before it came, or what was there before after it.`,
            );
            return undefined;
          });
          break;
        }
        case 'kept':
          if (this.#wholePoint(call.state) === undefined) {
            this.#add('torn', `The last state of ${call.state.incarnation} is not what its writes make.`);
          }
          break;
        case 'position': {
          const expected = call.of === call.at ? 'ready' : 'gap';
          if (call.event !== expected) {
            this.#add(
              'wrong-position',
              `Behind an event of ${call.of}, ${call.at} begins with ${call.event}.`,
            );
          }
          break;
        }
        case 'failed-read':
        case 'absence':
          break;
        default:
          call satisfies never;
      }
    }
    moments.sort((a, b) => a.at - b.at);
    for (const { run } of moments) run();
  }

  /** The file that a read saw while a restore was still putting it in the place of another. */
  #replacingAt(point: number, call: Call): Incarnation | undefined {
    if (call.kind !== 'read' && call.kind !== 'receipt') return undefined;
    const incarnation = this.#incarnations.findLast(({ offset, base }) => offset + base <= point);
    if (incarnation === undefined || incarnation.life.what === 'create') return undefined;
    return incarnation.life.completed > call.completed ? incarnation : undefined;
  }

  #standWrite(
    call: WriteCall,
    stand: (call: Call, place: (floor: number) => number | undefined, holds?: boolean) => void,
  ): void {
    const places = this.#ownPlaces(call.id);
    if (places.length > 0) {
      const points = places.map(({ incarnation, position }) => incarnation.offset + position);
      const place = (from: number) => {
        // Not at the floor either: what stands there has seen the write before it was issued.
        const point = points.find(one => one > from);
        if (point === undefined) {
          const now = this.#describePoint(from);
          this.#add(
            'out-of-time',
            `${describe(call)} is in ${places[0]!.incarnation.id} (${now} was seen before).`,
          );
        }
        return point;
      };
      stand(call, place, call.outcome === 'committed');
      return;
    }
    // It changed nothing: what its transaction read is a read.
    const { before, expected } = call;
    if (before !== undefined) {
      const seen = { kind: 'whole', ...before } as const;
      stand(call, from => this.#placeSeen(seen, from, `The transaction of ${describe(call)}`, call));
    } else if (call.outcome === 'refused' && expected !== undefined) {
      stand(call, from => {
        const differs = ({ states }: Incarnation, version: number) =>
          states[version]!.registers[expected.register] !== expected.value;
        const point = this.#firstPoint(from, differs, call);
        if (point === undefined)
          this.#add('stale', `${describe(call)} was refused, and had what it expected.`);
        return point;
      });
    }
  }

  /** The first state from a point on that a read can have seen; a finding where there is none. */
  #placeSeen(seen: Seen, from: number, what: string, call: Call): number | undefined {
    if (seen.kind === 'whole') {
      const point = this.#wholePoint(seen);
      const rows = `${seen.log.length} rows of ${seen.incarnation} (commit ${seen.seq})`;
      if (point === undefined)
        this.#add('torn', `${what} at ${call.invoked} saw no state of a file: ${rows}.`);
      else if (point < from) {
        this.#add('stale', `${what} at ${call.invoked} saw ${rows} after ${this.#describePoint(from)}.`);
      }
      return point;
    }
    const matches = matcherOf(seen);
    const point = this.#firstPoint(from, matches, call);
    if (point !== undefined) return point;
    const short = JSON.stringify(seen).slice(0, 200);
    const ever = this.#firstPoint(0, matches) !== undefined;
    if (ever) {
      this.#add('stale', `${what} at ${call.invoked} saw ${short} after ${this.#describePoint(from)}.`);
    } else this.#add('torn', `${what} at ${call.invoked} saw what never was: ${short}.`);
    return undefined;
  }

  #placeReceipt(call: ReceiptCall, from: number): number | undefined {
    const has = ({ positions }: Incarnation, version: number) =>
      (positions.get(call.of) ?? Number.POSITIVE_INFINITY) <= version;
    const says = call.state === 'committed';
    if (says && this.#mayBeRefused(call)) return this.#firstPoint(from, () => true, call);
    const point = this.#firstPoint(from, (incarnation, version) => has(incarnation, version) === says, call);
    if (point === undefined) {
      const write = this.#writes.get(call.of);
      this.#add(
        'wrong-receipt',
        `At ${call.invoked} the receipt of ${write === undefined ? call.of : describe(write)} said ${call.state}.`,
      );
    }
    return point;
  }

  /** Whether the write may be a compare-and-set that found another value: it is committed then, and no file has rows of it. */
  #mayBeRefused({ of, completed }: ReceiptCall): boolean {
    const { outcome, expected, invoked } = this.#writes.get(of) ?? {};
    if (outcome !== 'unknown' || expected === undefined || invoked === undefined) return false;
    if (this.#incarnations.some(({ positions }) => positions.has(of))) return false;
    return this.#incarnations.some(({ life, base, states }, index) => {
      const next = this.#incarnations[index + 1]?.life;
      if (life.invoked > completed || (next !== undefined && next.completed < invoked)) return false;
      return states.slice(base).some(({ registers }) => registers[expected.register] !== expected.value);
    });
  }

  #wholePoint(whole: Whole): number | undefined {
    for (const incarnation of this.#incarnations) {
      const version = this.#version(incarnation, whole);
      if (version !== undefined) return incarnation.offset + version;
    }
    return undefined;
  }

  /** @param call no state that came after it had completed counts */
  #firstPoint(
    from: number,
    matches: (incarnation: Incarnation, version: number) => boolean,
    call?: Call,
  ): number | undefined {
    for (const incarnation of this.#incarnations) {
      if (call !== undefined && incarnation.life.invoked > call.completed) break;
      const { base, offset, states } = incarnation;
      for (let version = Math.max(base, from - offset); version < states.length; version++) {
        if (matches(incarnation, version)) return offset + version;
      }
    }
    return undefined;
  }

  #describePoint(point: number): string {
    const incarnation = this.#incarnations.findLast(({ offset, base }) => offset + base <= point);
    if (incarnation === undefined) return 'the beginning';
    return `${incarnation.id} with ${incarnation.states[point - incarnation.offset]?.rows} rows`;
  }

  /** Whether a call was under way while the tenant may have had no file, or one without tables. */
  #mayBeAbsent(call: Call): boolean {
    return this.#calls.some(
      ({ kind, invoked, completed }) =>
        kind === 'absence' && invoked < call.completed && call.invoked < completed,
    );
  }

  /** What fails for good fails for a reason: the tenant is not there, or its file has no tables yet. */
  #checkCodes(): void {
    for (const call of this.#calls) {
      const isWrite = call.kind === 'write' && call.outcome === 'failed' && call.retryable === false;
      if (!isWrite && call.kind !== 'failed-read') continue;
      if (!this.#mayBeAbsent(call)) {
        const what = call.kind === 'write' ? describe(call) : `a read by ${call.door}`;
        this.#add('wrong-code', `At ${call.invoked} ${what} failed with ${call.code}.`);
      }
    }
  }
}

function matcherOf(
  seen: Exclude<Seen, { readonly kind: 'whole' }>,
): (incarnation: Incarnation, version: number) => boolean {
  switch (seen.kind) {
    case 'register':
      return ({ states }, version) => states[version]!.registers[seen.register] === seen.value;
    case 'balances':
      return ({ states }, version) => isEqual(states[version]!.balances, seen.balances);
    case 'list': {
      const isOf = new Map<Incarnation, boolean>();
      return (incarnation, version) => {
        if ((incarnation.states[version]!.counts[seen.list] ?? 0) !== seen.values.length) return false;
        let same = isOf.get(incarnation);
        if (same === undefined) {
          same = isEqual(seen.values, (incarnation.lists.get(seen.list) ?? []).slice(0, seen.values.length));
          isOf.set(incarnation, same);
        }
        return same;
      };
    }
    default:
      return seen satisfies never;
  }
}

/** What a change makes of a state. */
function apply(before: State, change: Change, rows: number): State {
  const counts: Record<string, number> = { ...before.counts };
  for (const { list } of change.appends) counts[list] = (counts[list] ?? 0) + 1;
  const registers = [...before.registers];
  for (const { register, value } of change.sets ?? []) registers[register] = value;
  const balances = [...before.balances];
  if (change.transfer !== undefined) {
    const { from, to, amount } = change.transfer;
    balances[from]! -= amount;
    balances[to]! += amount;
  }
  return { rows, counts, registers, balances };
}

/** The state that a sequence of changes makes, as a read sees it. */
export function stateAfter(
  incarnation: string,
  changes: readonly Change[],
  seq: number | null = null,
): Whole {
  const log: string[] = [];
  let state = INITIAL;
  for (const change of changes) {
    const counts: Record<string, number> = { ...state.counts };
    for (const { list, value } of change.appends) {
      log.push(rowText(list, counts[list] ?? 0, value));
      counts[list] = (counts[list] ?? 0) + 1;
    }
    state = apply(state, change, log.length);
  }
  return { incarnation, seq, log, registers: state.registers, balances: state.balances };
}

function isEqual<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

function describe({ id, door, caller, invoked, completed, outcome, code }: WriteCall): string {
  const answer = code === undefined ? outcome : `${outcome} ${code}`;
  return `write ${id} of ${caller} by ${door} (${invoked} to ${completed}, ${answer})`;
}
