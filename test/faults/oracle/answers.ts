import type { EntryOf, GivenAnswer, JournalEntry } from '../journal.ts';
import type { Operation } from '../operation.ts';
import type { StarvedSpan } from '../starvation.ts';
import type { Findings } from './findings.ts';
import type { OracleOptions } from './options.ts';

/* The answers that callers got: what, when, and whether a write may get that. */

const DEFAULT_SLACK_MS = 100;
/** Whatever a machine takes: an answer that comes so long after its deadline is late. */
const MAX_STARVED_MS = 10_000;

/** All that is known of a write. */
export interface Write {
  readonly tenant: string;
  readonly client: string;
  readonly n: number;
  readonly via: 'sdk' | 'gateway';
  readonly op: Operation;
  /** When it was last sent, and until when its caller may wait. */
  sentAt: number;
  dueAt: number;
  attempts: number;
  answers: (GivenAnswer & { readonly at: number })[];
  accepted: EntryOf<'accepted'> | undefined;
  receipts: EntryOf<'receipt'>[];
  /** Whether the client was still there to hear answers. */
  ended: boolean;
}

/** The writes of all journals; what their answers alone show to be wrong is found here. */
export function collectWrites(
  journals: readonly (readonly JournalEntry[])[],
  options: OracleOptions,
  lateness: Lateness,
  found: Findings,
): Write[] {
  const all: Write[] = [];
  for (const journal of journals) {
    const first = journal[0];
    if (first === undefined) continue; // killed before it wrote anything
    if (first.k !== 'client') throw new Error('A journal begins with its client.');
    const { client, via } = first;
    const ended = journal.at(-1)?.k === 'end';
    const writes = new Map<number, Write>();
    const of = (n: number) => {
      const write = writes.get(n);
      if (write === undefined)
        throw new Error(`The journal of ${client} answers write ${n} before its issue.`);
      return write;
    };
    for (const entry of journal) {
      switch (entry.k) {
        case 'client':
        case 'end':
          break;
        case 'issue': {
          const { tenant, n, op, at, timeoutMs } = entry;
          writes.set(n, {
            ...{ tenant, client, n, via, op, sentAt: at, dueAt: at + timeoutMs },
            ...{ attempts: 1, answers: [], accepted: undefined, receipts: [], ended },
          });
          break;
        }
        case 'again': {
          const write = of(entry.n);
          write.attempts++;
          write.sentAt = entry.at;
          write.dueAt = entry.at + entry.timeoutMs;
          break;
        }
        case 'accepted':
          of(entry.n).accepted = entry;
          break;
        case 'answered': {
          const write = of(entry.n);
          write.answers.push(entry);
          lateness.check(write, entry, found);
          checkAnswer(write, entry, options, found);
          break;
        }
        case 'receipt':
          of(entry.n).receipts.push(entry);
          break;
        case 'read':
          if (!entry.seen && !options.staleReadsAllowed) {
            found.add('stale-read', 'A read did not see a write reported committed before it.', of(entry.n));
          }
          break;
        default:
          entry satisfies never;
      }
    }
    for (const write of writes.values()) {
      if (ended && write.answers.length < write.attempts) {
        found.add('unsettled', `The caller was never answered (${describe(write)}).`, write);
      }
      all.push(write);
    }
  }
  return all;
}

/** Judges when answers came, apart from the time that the machine took from both sides. */
export class Lateness {
  readonly #slackMs: number;
  readonly #gatewayStarved: readonly StarvedSpan[];
  starved = 0;
  latestMs = 0;

  constructor({ slackMs = DEFAULT_SLACK_MS, gatewayStarved = [] }: OracleOptions) {
    this.#slackMs = slackMs;
    this.#gatewayStarved = gatewayStarved;
  }

  check(write: Write, answer: EntryOf<'answered'>, found: Findings): void {
    const afterMs = answer.at - write.dueAt;
    if (afterMs <= 0) return;
    const starvedMs = Math.min(this.#starvedMs(write, answer), MAX_STARVED_MS);
    const lateMs = afterMs - starvedMs;
    this.latestMs = Math.max(this.latestMs, lateMs);
    if (lateMs > this.#slackMs) {
      const machine = starvedMs >= 1 ? `, of which the machine took ${Math.round(starvedMs)}` : '';
      const message = `Answered ${Math.round(afterMs)} ms after the deadline${machine} (${describe(write)}).`;
      found.add('unsettled', message, write);
    } else if (afterMs > this.#slackMs) this.starved++;
  }

  #starvedMs(write: Write, answer: EntryOf<'answered'>): number {
    let starvedMs = answer.starvedMs ?? 0;
    if (write.via !== 'gateway') return starvedMs;
    for (const { from, to, ms } of this.#gatewayStarved) {
      if (to > write.dueAt && from < answer.at) starvedMs += ms;
    }
    return starvedMs;
  }
}

/** Failures that are the write's own, by kind of operation. */
const OWN_FAILURES: Readonly<Record<Operation['kind'], readonly string[]>> = {
  append: [],
  enqueue: [],
  heavy: [],
  keyed: [],
  bad: ['CONSTRAINT_VIOLATION', 'SQL_ERROR'],
  transfer: ['EXPECTATION_FAILED', 'CONSTRAINT_VIOLATION'],
  register: [],
  steps: [],
  open: [],
};

/** At a bound the answer says when to try again. */
const REFUSALS: readonly string[] = ['TENANT_OVERLOADED', 'BUFFER_FULL', 'QUEUE_FULL', 'QUEUE_UNAVAILABLE'];

function checkAnswer(
  write: Write,
  answer: EntryOf<'answered'>,
  options: OracleOptions,
  found: Findings,
): void {
  if (answer.outcome === 'committed' && write.op.kind === 'bad') {
    found.add('false-commit', `A write that must fail (${write.op.how}) was reported committed.`, write);
  }
  const mayDoubt = { true: true, gateway: write.via === 'gateway', false: false }[
    `${options.unknownAllowed ?? true}` as const
  ];
  if (answer.outcome === 'unknown' && !mayDoubt) {
    found.add(
      'wrong-code',
      'A caller was left with OUTCOME_UNKNOWN, which this fault does not excuse.',
      write,
    );
  }
  if (answer.outcome === 'failed' && REFUSALS.includes(answer.code) && !(answer.retryAfterMs! > 0)) {
    found.add('wrong-answer', `${answer.code} came without retryAfterMs.`, write);
  }
  if (answer.outcome === 'failed' && !answer.retryable) {
    const excused = OWN_FAILURES[write.op.kind].concat(options.excusedCodes ?? []);
    if (!excused.includes(answer.code)) {
      found.add('wrong-code', `A ${write.op.kind} got ${answer.code}.`, write);
    }
  }
}

/** How writes ended, by their last answer. */
export interface OutcomeCounts {
  readonly issued: number;
  readonly committed: number;
  /** By code. */
  readonly failed: Readonly<Record<string, number>>;
  readonly unknown: number;
  /** Clients that were killed left these without an answer. */
  readonly unanswered: number;
}

export function countOutcomes(writes: readonly Write[]): OutcomeCounts {
  const failed: Record<string, number> = {};
  let [committed, unknown, unanswered] = [0, 0, 0];
  for (const { answers } of writes) {
    const last = answers.at(-1);
    if (last === undefined) unanswered++;
    else if (last.outcome === 'committed') committed++;
    else if (last.outcome === 'unknown') unknown++;
    else failed[last.code] = (failed[last.code] ?? 0) + 1;
  }
  return { issued: writes.length, committed, failed, unknown, unanswered };
}

/** A write in a sentence of a finding. */
export function describe(write: Write): string {
  const answers = write.answers.map(answer => (answer.outcome === 'committed' ? 'committed' : answer.code));
  return [
    write.op.kind,
    `sent at ${write.sentAt}`,
    answers.length === 0 ? 'unanswered' : `answered ${answers.join(', ')}`,
    ...(write.accepted ? [`accepted as ${write.accepted.receiptId}`] : []),
    ...(write.receipts.length > 0 ? [`receipt ${write.receipts.map(({ state }) => state).join(', ')}`] : []),
  ].join(', ');
}
