import { readdirSync, readFileSync } from 'node:fs';
import { monotonicMs } from './journal.ts';

/*
 * How long a process was kept from working by the machine. A caller that is answered late on a machine with two cores may
 * be so because its thread waited for a CPU; that is no fault of the product. Work of the product itself, however long it
 * holds the event loop, uses CPU or sleeps in a system call, and neither is counted here.
 *
 *   waiting for a CPU   the kernel's count for the main thread: second field of /proc/<pid>/schedstat, in ns
 *   stopped             from SIGSTOP to SIGCONT: the gap between two samples, less what the thread did and waited in it. An
 *                       answer that is taken before the signal's listener runs, in the same turn, does not have it yet
 *   helpers             the event loop stands still and its thread sleeps, while another thread of the process waits for a CPU:
 *                       the garbage collector shares its work among threads, and the main thread waits for the last of them
 *   journal             time that a client of this test spends on its journal, with writes that return when the kernel has them
 */

/** Between two samples while the event loop is free; a turn that takes longer lies between two samples as a whole. */
const SAMPLE_MS = 20;
/** Samples are kept for longer than the longest deadline of a client (45 s). */
const MAX_SAMPLES = 60_000 / SAMPLE_MS;

/** What is shorter is not worth asking every thread. */
const MIN_SLEPT_MS = 5;
/** How long one look stays valid. */
const LATEST_LASTS_MS = 1;

/** CPU times of a process's main thread, since it began. */
export interface ThreadTimes {
  readonly cpuMs: number;
  readonly waitedMs: number;
}

/** @returns undefined where this system does not count, or there is no such process */
export function threadTimes(
  pid: number | 'self' | `${number | 'self'}/task/${string}` = 'self',
): ThreadTimes | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/schedstat`, 'utf8');
  } catch {
    return undefined;
  }
  const [cpuNs, waitedNs] = text.split(' ').map(Number);
  return { cpuMs: cpuNs! / 1e6, waitedMs: waitedNs! / 1e6 };
}

/** Time that each of a process's threads but the main one has waited for a CPU. */
function helperWaits(): ReadonlyMap<string, number> {
  const waits = new Map<string, number>();
  if (process.platform !== 'linux') return waits;
  for (const thread of readdirSync('/proc/self/task')) {
    if (thread === String(process.pid)) continue;
    const waitedMs = threadTimes(`self/task/${thread}`)?.waitedMs;
    if (waitedMs !== undefined) waits.set(thread, waitedMs); // else it has ended
  }
  return waits;
}

/** Time that each thread of a process has waited for a CPU; empty where this system does not count, or there is no such process. */
function threadWaits(pid: number): ReadonlyMap<string, number> {
  const waits = new Map<string, number>();
  let threads: readonly string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return waits;
  }
  for (const thread of threads) {
    const waitedMs = threadTimes(`${pid}/task/${thread}`)?.waitedMs;
    if (waitedMs !== undefined) waits.set(thread, waitedMs); // else it has ended
  }
  return waits;
}

/**
 * How long work that passes through several processes, one after the other, may have been held up because no CPU was free: the sum of
 * the longest waits of a thread in each. @returns a function that says how long since the call
 */
export function watchWaits(pids: readonly number[]): () => number {
  const before = pids.map(threadWaits);
  return () =>
    pids.reduce((sum, pid, index) => {
      let longestMs = 0;
      for (const [thread, waitedMs] of threadWaits(pid)) {
        longestMs = Math.max(longestMs, waitedMs - (before[index]!.get(thread) ?? 0));
      }
      return sum + longestMs;
    }, 0);
}

interface Sample extends ThreadTimes {
  readonly at: number;
  /** Of all kinds, since the process began. */
  readonly starvedMs: number;
}

/** What the machine took from this process. */
export class Starvation {
  readonly #journalMs: () => number;
  readonly #samples: Sample[] = [];
  #stoppedMs = 0;
  #helpersMs = 0;
  #helperWaits = helperWaits();
  /** The latest look for an answer. */
  #latest: Sample;

  /** @param journalMs time spent on the journal so far */
  constructor(journalMs: () => number) {
    this.#journalMs = journalMs;
    this.#latest = this.#look();
    this.#samples.push(this.#latest);
    setInterval(() => this.#sample(), SAMPLE_MS).unref();
    process.on('SIGCONT', () => {
      this.#sample();
      // The timer may come before the signal: then the gap is before the last sample but one.
      const [first, ...others] = this.#samples.slice(-3);
      let before = first!;
      for (const sample of others) {
        const awakeMs = sample.cpuMs - before.cpuMs + sample.waitedMs - before.waitedMs;
        this.#stoppedMs += Math.max(0, sample.at - before.at - awakeMs - SAMPLE_MS);
        before = sample;
      }
    });
  }

  /** From the turn of the event loop that was under way at `at` until now, in ms. */
  since(at: number): number {
    const before = this.#samples.findLast(sample => sample.at <= at) ?? this.#samples[0]!;
    // Thousands of answers may come at once, and each look costs a read of a file.
    if (monotonicMs() - this.#latest.at > LATEST_LASTS_MS) {
      const look = this.#look();
      const helpersMs = this.#sleptMs() > MIN_SLEPT_MS ? this.#sleptForHelpers(helperWaits()) : 0;
      this.#latest = { ...look, starvedMs: look.starvedMs + helpersMs };
    }
    return this.#latest.starvedMs - before.starvedMs;
  }

  #sample(): void {
    const waits = helperWaits();
    this.#helpersMs += this.#sleptForHelpers(waits);
    this.#helperWaits = waits;
    this.#samples.push(this.#look());
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
  }

  /** Since the last sample, in a turn that is long: neither at work nor waiting for a CPU. */
  #sleptMs(): number {
    const last = this.#samples.at(-1)!;
    const { at, cpuMs, waitedMs } = this.#look();
    // Before such a turn the loop may have been idle until the sample was due.
    return Math.max(0, at - last.at - SAMPLE_MS - (cpuMs - last.cpuMs) - (waitedMs - last.waitedMs));
  }

  /** Of that, at most the longest wait of a helper. */
  #sleptForHelpers(waits: ReadonlyMap<string, number>): number {
    let longestMs = 0;
    for (const [thread, waitedMs] of waits) {
      longestMs = Math.max(longestMs, waitedMs - (this.#helperWaits.get(thread) ?? waitedMs));
    }
    return Math.min(this.#sleptMs(), longestMs);
  }

  #look(): Sample {
    const { cpuMs, waitedMs } = threadTimes() ?? { cpuMs: 0, waitedMs: 0 };
    const starvedMs = waitedMs + this.#stoppedMs + this.#helpersMs + this.#journalMs();
    return { at: monotonicMs(), cpuMs, waitedMs, starvedMs };
  }
}

/** A span of time in which a process waited for a CPU for `ms`. */
export interface StarvedSpan {
  readonly from: number;
  readonly to: number;
  readonly ms: number;
}

/** Spans with less are not noted. */
const MIN_NOTED_MS = 1;

/** Watches from outside how long another process waits for a CPU, from one start of it to the next. */
export class StarvationWatch {
  readonly spans: StarvedSpan[] = [];
  readonly #timer: NodeJS.Timeout;
  #last: { readonly pid: number; readonly at: number; readonly waitedMs: number } | undefined;

  /** @param pid asked before each look: undefined while the process does not run */
  constructor(pid: () => number | undefined) {
    this.#timer = setInterval(() => this.#look(pid()), SAMPLE_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(pid: number | undefined): void {
    const waitedMs = pid === undefined ? undefined : threadTimes(pid)?.waitedMs;
    if (pid === undefined || waitedMs === undefined) {
      this.#last = undefined;
      return;
    }
    const at = monotonicMs();
    const last = this.#last?.pid === pid ? this.#last : undefined;
    if (last !== undefined && waitedMs - last.waitedMs >= MIN_NOTED_MS) {
      this.spans.push({ from: last.at, to: at, ms: waitedMs - last.waitedMs });
    }
    this.#last = { pid, at, waitedMs };
  }
}
