import { createHash } from 'node:crypto';
import type { CapturedLog, CaptureMessage, FileMark, LogPosition } from '@onewriter/writer';
import { type CloseNote, FRAME_HEADER_BYTES, type KnownEnd } from '../src/ship/continues.ts';

export const PAGE_SIZE = 512;

export const mark = (version: number): FileMark => ({
  ino: '1',
  size: PAGE_SIZE,
  mtimeNs: `${version}`,
  ctimeNs: `${version}`,
});
export const at = (salts: string, frame: number, checksum = frame === 0 ? '' : sum(`${salts}/${frame}`)) => ({
  salts,
  frame,
  checksum,
});
export const NO_LOG = at('', 0);

export function sum(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

let order = 0n;

/** One frame of a log with the checksum of all up to it; its page has the number of its commit. */
function frame(checksum: string, endsCommit: boolean, id: number): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + PAGE_SIZE);
  bytes.writeUInt32BE(1, 0);
  bytes.writeUInt32BE(endsCommit ? 1 : 0, 4);
  bytes.write(checksum, 16, 'hex');
  bytes.writeUInt32BE(id, FRAME_HEADER_BYTES);
  return bytes;
}

export function piece(options: {
  before: LogPosition;
  from: LogPosition;
  /** Of the frames, with `true` where a commit ends. */
  frames: readonly (readonly [checksum: string, endsCommit: boolean])[];
  mark?: FileMark;
  /** Of their commits. */
  ids?: readonly number[];
  /** Size of the file: with 1, a piece has all pages. */
  pages?: number;
}): CapturedLog {
  const { before, from, frames, ids = [], pages = 1 } = options;
  const bytes = Buffer.concat(
    frames.map(([checksum, ends], index) => frame(checksum, ends, ids[index] ?? 0)),
  );
  const copy = new ArrayBuffer(bytes.length);
  bytes.copy(Buffer.from(copy));
  return {
    kind: 'log',
    order: ++order,
    tenant: 'acme',
    incarnation: 'a',
    pageSize: PAGE_SIZE,
    before,
    from,
    to: at(from.salts, from.frame + frames.length, frames.at(-1)?.[0] ?? from.checksum),
    commits: frames.flatMap(([, ends], index) =>
      ends ? [{ frames: index + 1, commitSeq: 1, atMs: 1, epoch: 1, pages }] : [],
    ),
    frames: copy,
    mark: options.mark,
    urgent: false,
  };
}

/** Frames `from + 1` to `to` of a log, each a commit of its own unless named in `inside`. */
export function framesOf(salts: string, from: number, to: number, inside: readonly number[] = []) {
  return Array.from({ length: to - from }, (_, index) => {
    const number = from + index + 1;
    return [sum(`${salts}/${number}`), !inside.includes(number)] as const;
  });
}

/*
 * A file as a list of commits: those of the main file and those of its log. Each step is one that happens to a real file; the
 * capturer sees it as it would. A copy that follows `continues` must always be what the file is.
 */
export class World {
  main: number[] = [];
  log: { salts: string; commits: number[] } | undefined;
  /** The log is in the main file, too: the next commit of this connection begins another. */
  isWrittenBack = false;
  version = 0;
  ids = 0;
  /** Of the writer's connection; undefined: closed. Position up to which it was captured. */
  open: { before: LogPosition; mark: FileMark | undefined; sent: number; salts: string } | undefined;
  note: CloseNote | undefined;
  /** What is stored: contents and the end that they have. */
  copy: { contents: number[]; known: KnownEnd } | undefined;
  replaced = 0;
  /** Kills between the first commit of another log and its capture: what was there before is gone. */
  overwritten = 0;

  contents(): number[] {
    return [...this.main, ...(this.log?.commits ?? [])];
  }

  endOfLog(commits = this.log?.commits.length ?? 0): LogPosition {
    if (this.log === undefined) return NO_LOG;
    // The checksum is over all frames of the log, which stand on what the main file was.
    const { salts } = this.log;
    return at(salts, commits, commits === 0 ? '' : this.#sumUpTo(commits));
  }

  #sumUpTo(commits: number): string {
    return sum(`${this.log!.salts}:${this.log!.commits.slice(0, commits).join()}`);
  }

  openFile(): void {
    if (this.open !== undefined) return;
    this.open = {
      before: this.endOfLog(),
      mark: mark(this.version),
      sent: 0,
      salts: this.log?.salts ?? '',
    };
  }

  commit(): void {
    this.openFile();
    if (this.isWrittenBack) this.#writeBack();
    if (this.log === undefined) this.#newLog();
    this.log!.commits.push(++this.ids);
  }

  #newLog(): void {
    this.log = { salts: `salt${++this.ids}`, commits: [] };
  }

  /** The log is written back whole, but stays until the next commit. CaptureMessage before. */
  restart(capture: (piece: CapturedLog) => void): void {
    if (this.open === undefined || this.log === undefined) return;
    this.capture(capture);
    this.isWrittenBack = true;
  }

  #writeBack(): void {
    this.main = this.contents();
    this.log = undefined;
    this.isWrittenBack = false;
    this.version++;
  }

  capture(send: (piece: CapturedLog) => void): void {
    if (this.open === undefined || this.log === undefined) return;
    const { salts, commits } = this.log;
    const isOther = salts !== this.open.salts;
    const first = isOther ? 0 : this.open.sent;
    if (first === commits.length) return;
    const frames = commits.map((_, index) => [this.#sumUpTo(index + 1), true] as const).slice(first);
    send(
      piece({
        before: this.open.before,
        from: this.endOfLog(first),
        frames,
        ids: commits.slice(first),
        pages: 2,
        ...(this.open.mark === undefined ? {} : { mark: this.open.mark }),
      }),
    );
    this.open = { before: this.endOfLog(), mark: undefined, sent: commits.length, salts };
  }

  /** What is not captured finds no room, and is given up. */
  lose(): void {
    if (this.open === undefined || this.log === undefined) return;
    const { salts, commits } = this.log;
    this.open = { before: this.endOfLog(), mark: undefined, sent: commits.length, salts };
  }

  close(send: (piece: CapturedLog) => void, sendClosed: (message: CaptureMessage) => void = () => {}): void {
    if (this.open === undefined) return;
    this.capture(send);
    const to = this.log === undefined ? this.open.before : this.endOfLog();
    if (this.log !== undefined) this.#writeBack();
    if (this.copy !== undefined) {
      this.note = { pos: this.copy.known.pos, to, mark: mark(this.version) };
    }
    sendClosed({ kind: 'closed', order: ++order, tenant: 'acme', to, mark: mark(this.version) });
    this.open = undefined;
  }

  kill(): void {
    const { open, log } = this;
    if (
      open !== undefined &&
      log !== undefined &&
      open.sent + open.before.frame > 0 &&
      open.salts !== log.salts
    ) {
      this.overwritten++;
    }
    this.open = undefined;
    this.isWrittenBack = false;
  }

  /** Another process opens the file after a kill, may commit, and closes it: the log is written back. */
  foreign(writes: boolean): void {
    if (this.open !== undefined) return;
    if (writes && this.log === undefined) this.#newLog();
    if (writes) this.log!.commits.push(++this.ids);
    if (this.log !== undefined) this.#writeBack();
  }

  /** Another process commits into the log and dies, too. */
  foreignTail(): void {
    if (this.open !== undefined) return;
    if (this.log === undefined) this.#newLog();
    this.log!.commits.push(++this.ids);
  }

  /** A copy of the file as it was some commits ago, put in its place. */
  goBack(commits: number): void {
    if (this.open !== undefined) return;
    this.main = this.contents().slice(0, -commits || undefined);
    this.log = undefined;
    this.version += 1_000 + ++this.replaced;
  }

  /** The end of the log is lost, as after a power cut without a flush. */
  loseTail(): void {
    if (this.open !== undefined) return;
    this.log?.commits.pop();
  }
}
