import { readdirSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { DATABASE_COMPANIONS } from '@onewriter/protocol';

/** A process that has a file open. */
export interface Opener {
  readonly pid: number;
  readonly command: string;
}

/** Who has which files open, as far as this user may see. */
export interface Openers {
  of(path: string): readonly Opener[];
  /** Processes that may not be looked into. */
  readonly hidden: number;
}

const COMMAND_LENGTH = 80;
/** How long a process that is ending may still have its files open: those of a killed run free their memory first. */
const ENDING_MS = 2_000;
const LOOK_EVERY_MS = 100;

/** `process 71 (node server.js), process 80 (node worker.js)` */
export function describeOpeners(openers: readonly Opener[]): string {
  return openers.map(({ pid, command }) => `process ${pid} (${command})`).join(', ');
}

/** Looks once at all processes of the machine, where the system shows them (Linux); SQLite's locks say more, when a file is moved. */
export function findOpeners(): Openers {
  const byFile = new Map<string, Map<number, Opener>>();
  let hidden = 0;
  for (const pid of processIds()) {
    const files = filesOf(pid);
    if (files === undefined) hidden++;
    else {
      const opener = { pid, command: commandOf(pid) };
      for (const file of files) {
        const openers = byFile.get(file) ?? new Map<number, Opener>();
        openers.set(pid, opener);
        byFile.set(file, openers);
      }
    }
  }
  const openersOf = (path: string) => {
    const key = keyOf(path);
    return key === undefined ? [] : [...(byFile.get(key)?.entries() ?? [])];
  };
  return {
    hidden,
    of: path => [
      ...new Map(['', ...DATABASE_COMPANIONS].flatMap(suffix => openersOf(path + suffix))).values(),
    ],
  };
}

/** The same, without processes that close the files within a moment, as they end. */
export async function findLastingOpeners(paths: readonly string[], withinMs = ENDING_MS): Promise<Openers> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const openers = findOpeners();
    if (performance.now() >= deadline || paths.every(path => openers.of(path).length === 0)) return openers;
    await pause(LOOK_EVERY_MS);
  }
}

function processIds(): number[] {
  try {
    return readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .map(Number)
      .filter(pid => pid !== process.pid);
  } catch {
    return []; // not Linux
  }
}

/** Undefined where it may not be looked at. */
function filesOf(pid: number): Set<string> | undefined {
  const folder = `/proc/${pid}/fd`;
  try {
    return new Set(readdirSync(folder).flatMap(name => keyOf(`${folder}/${name}`) ?? []));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? undefined : new Set(); // ended meanwhile
  }
}

/** By device and number: a path may be another in each process. */
function keyOf(path: string): string | undefined {
  try {
    const stats = statSync(path);
    return stats.isFile() ? `${stats.dev}:${stats.ino}` : undefined;
  } catch {
    return undefined; // closed meanwhile, or not there
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .replace(/[\0\s]+/g, ' ')
      .trim()
      .slice(0, COMMAND_LENGTH);
  } catch {
    return 'ended';
  }
}
