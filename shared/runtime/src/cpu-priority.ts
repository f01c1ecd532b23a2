import { readdirSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';

/*
 * CPU for work of single tenants, beside the processes that serve all of them:
 *
 *   usual        what a person started and waits for
 *   low          what is short as a rule: three of them weigh as much as one that is usual
 *   background   what may take long. It runs while a CPU has nothing else to do: 70 of them weigh as much as one that is usual, and
 *                one that wakes up takes their place at once. Measured on two CPUs with three that are busy: nine of ten wake-ups
 *                of another within 0.2 ms, and beside those with low priority within 2 to 3 ms. A request has a dozen wake-ups
 *
 * Where Linux shares the CPU among sessions first (autogroups: a terminal, `onewriter up`), niceness counts within a session. So a process
 * that is not usual has a session of its own, which is as nice as it is. Without rights a process cannot become less nice again, and Linux
 * takes the niceness of one session in 0.1 s, of all such processes together (EAGAIN): what it did not take is said again until it does.
 */

/** How much CPU a process gets while others want it, too. */
export type CpuPriority = 'usual' | 'low' | 'background';

/** From 0 to 19. */
const NICENESS: Readonly<Record<CpuPriority, number>> = Object.freeze({
  usual: 0,
  low: 5,
  background: 19,
});
/** Of the errors of a system that does not allow it, or of a process that has ended: it keeps the priority it has. */
const NOT_ALLOWED: ReadonlySet<string> = new Set(['ESRCH', 'EACCES', 'EPERM', 'ENOENT', 'EINVAL', 'EROFS']);

/** Of a system that may take it later; without a free descriptor the file does not open. */
const TRY_AGAIN: ReadonlySet<string> = new Set(['EAGAIN', 'EINTR', 'EMFILE', 'ENFILE', 'ENOMEM']);
/** A little more than Linux asks for: others may be in turn. */
const SESSION_RETRY_MS = 110;

/** Niceness of sessions that Linux has not taken yet, by their leaders. */
const untaken = new Map<number, number>();
let retry: NodeJS.Timeout | undefined;

/** Sets the priority of a process that leads a session, with all its threads. */
export function setCpuPriority(pid: number, priority: CpuPriority): void {
  for (const thread of threadsOf(pid)) setThreadPriority(thread, priority);
  untaken.delete(pid);
  untaken.set(pid, NICENESS[priority]);
  if (retry === undefined) setSessions();
}

/** Of a leader that has ended there is no file: it is left out. */
function setSessions(): void {
  retry = undefined;
  for (const [pid, niceness] of untaken) {
    if (!setSessionNiceness(pid, niceness)) {
      retry = setTimeout(setSessions, SESSION_RETRY_MS).unref();
      return;
    }
    untaken.delete(pid);
  }
}

/** @returns false where it is to be said again */
function setSessionNiceness(pid: number, niceness: number): boolean {
  try {
    tryTo(() => writeFileSync(`/proc/${pid}/autogroup`, String(niceness), { flag: 'r+' }));
    return true;
  } catch (error) {
    if (TRY_AGAIN.has(codeOf(error))) return false;
    throw error;
  }
}

/** Sets the priority of a thread; Linux has one for each. @param id as Linux numbers it */
export function setThreadPriority(id: number, priority: CpuPriority): void {
  tryTo(() => setPriority(id, NICENESS[priority]));
}

function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [pid]; // another system, or it has ended
  }
}

function tryTo(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (!NOT_ALLOWED.has(codeOf(error))) throw error;
  }
}

/** Errors of `setPriority` have the code of the system call's in `info`. */
function codeOf(error: unknown): string {
  const { code, info } = error as { readonly code?: string; readonly info?: { readonly code?: string } };
  return info?.code ?? code ?? '';
}
