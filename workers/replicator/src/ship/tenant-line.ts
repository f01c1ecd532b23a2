import assert from 'node:assert/strict';
import type { BranchPoint } from '@onewriter/protocol';
import type { CapturedLog, CaptureMessage } from '@onewriter/writer';
import type { BranchBase, SegmentEntry } from '../format/entry.ts';
import type { SegmentCommit } from '../format/segment-body.ts';
import { FEW_SEGMENTS } from '../hibernate/hibernated-place.ts';
import { type Apart, addApart, addPiece } from './apart.ts';
import { type Continuity, continues, type GapReason, isInside, isSamePosition } from './continues.ts';
import { findFirstFull } from './first-full.ts';
import type { LineOwner } from './line-owner.ts';
import { type CapturedItem, type FullSegment, numbersOf, type PackItem, shareOf } from './pack-item.ts';
import { type KnownCommit, NOTHING, numberCommits, toFirstItem, toMark, toPagesItem } from './piece-items.ts';

/*
 * What is known of one tenant, and what it has to store next. Decides only; reads and writes nothing.
 *
 *   unknown ──a piece with all pages──────────────────────────▶ chained ◀──┐
 *      │                                                           │       │ the segment, and what was captured since
 *      │ another piece                     gap, lost, replaced     ▼       │
 *      └───────────────────────────────────────────────────────▶ needs-full ──a process reads the file──▶ reading
 *
 *   off: nothing is stored; then needs-full. deleted: until a piece of another file comes; then needs-full.
 * What comes from a writer and from the broker may cross, such as a piece of a deleted file: then only reading says what is there.
 */

export type LineState = 'unknown' | 'chained' | 'needs-full' | 'reading' | 'off' | 'deleted';

/** A larger piece does not fit into the body of a segment. */
const MAX_PIECE_BYTES = 128 * 1024 * 1024;
/** Messages of a former process have numbers below 0. */
const BEFORE_ALL = -(2n ** 63n);

export class TenantLine {
  readonly tenant: string;
  readonly #owner: LineOwner;
  #state: LineState;
  /** The newest commit that was captured and has a number. */
  #known: KnownCommit | undefined;
  /** That it began as, where it did. */
  #base: BranchBase | undefined;
  /** To be put into packs, in order. */
  readonly #items: PackItem[] = [];
  /** What was captured while the file is read, in order. */
  #since: CaptureMessage[] = [];
  #order = BEFORE_ALL;
  #dropped: Apart | undefined;
  /** The store has a file of it at the end of its items. */
  #isAlive: boolean;
  /** Only what a process reads is believed: a piece may be of a former file. */
  #mustRead = false;
  /** Its chain became long: it continues while it waits to be read whole. */
  #renews = false;
  /** So it does where the file may have commits that no piece brings: it is read unless a piece that continues comes first. */
  #mayLack = false;
  /** A replaced or deleted file, or another `off`, makes what is being read worthless. */
  #isReadingVoid = false;
  /** Behind the segment with all pages, as far as known. */
  #segments: number;
  gaps = 0;

  /** @param last what the store has of it, deleted or not */
  constructor(tenant: string, owner: LineOwner, last?: SegmentEntry | undefined) {
    this.tenant = tenant;
    this.#owner = owner;
    this.#state = last === undefined ? 'unknown' : last.kind === 'deleted' ? 'deleted' : 'chained';
    this.#isAlive = this.#state === 'chained';
    this.#segments = last?.kind === 'full' ? 0 : Number.POSITIVE_INFINITY;
    this.#base = last?.base;
    if (last !== undefined) this.#known = { ...last, pos: last.max };
  }

  /** Of the last message that was taken. */
  get order(): bigint {
    return this.#order;
  }

  get state(): LineState {
    return this.#state;
  }

  /** Of the newest commit that has a number, stored or not; 0: none. */
  get pos(): number {
    return this.#known?.pos ?? 0;
  }

  /** What its file should be, where it is not about to be read. */
  get settled(): KnownCommit | undefined {
    const isBegun = this.#state === 'chained' && this.#known!.pageSize > 0;
    return isBegun && !this.needsReading ? this.#known : undefined;
  }

  get items(): readonly PackItem[] {
    return this.#items;
  }

  /** Items whose log may not be flushed. */
  get unflushed(): readonly CapturedItem[] {
    return this.#items.filter(item => item.kind !== 'entry').filter(item => item.unflushed !== undefined);
  }

  /** Commits that are not in items: those that only a full segment will have, and those that come behind it. */
  get apart(): Apart | undefined {
    const pieces = this.#since.filter(message => message.kind === 'log');
    return pieces.reduce<Apart | undefined>(addPiece, this.#dropped);
  }

  /** Takes the first item. */
  take(): PackItem {
    const item = this.#items.shift();
    assert(item !== undefined, 'There is nothing to store.');
    return item;
  }

  /** Whether a message breaks no chain: otherwise one that was sent before it may still come. */
  fits(message: CaptureMessage): boolean {
    if (message.kind !== 'log' || this.#state !== 'chained' || message.order < this.#order) return true;
    return this.#continues(message).kind === 'continues';
  }

  receive(message: CaptureMessage): void {
    // What is late was in a later message, too: of the thread that has the tenant now.
    if (message.order < this.#order) {
      if (message.kind === 'log') this.#owner.free(shareOf(message));
      return;
    }
    this.#order = message.order;
    this.#take(message);
  }

  #take(message: CaptureMessage): void {
    if (message.kind === 'log') this.#receivePiece(message);
    else if (message.kind === 'lost') this.#receiveLost(message);
    else this.#receiveClosed(message);
  }

  /** Another file is in its place, by other means than commits. What was captured of the former one is stored. */
  replaced(): void {
    if (this.#state === 'off') return;
    this.#voidReading();
    this.#noteLack();
    this.#state = 'needs-full';
    this.#mustRead = true;
  }

  /** What is stored cannot be read: it begins again. */
  damaged(): void {
    if (this.#state === 'chained') this.#break('damaged');
  }

  setOff(isOff: boolean): void {
    if (isOff === (this.#state === 'off')) return;
    this.#voidReading();
    this.#forgetLack();
    if (!isOff) this.#noteLack();
    this.#state = isOff ? 'off' : 'needs-full';
    this.#mustRead = true;
  }

  /** Its history ends here; a tenant of its name that comes later has higher numbers. */
  deleted(): void {
    this.#voidReading();
    this.#forgetLack();
    this.#mustRead = true;
    this.#state = this.#known === undefined ? 'unknown' : 'deleted';
    if (this.#isAlive) this.#addMark('deleted', this.#known!);
    this.#isAlive = false;
  }

  /** Whether it may begin as another one was: there is nothing of it. */
  get mayBegin(): boolean {
    return (this.#state === 'unknown' || this.#state === 'deleted') && this.#items.length === 0;
  }

  /** What it is, where it has no pages of its own. */
  get base(): BranchBase | undefined {
    return this.#isAlive && this.#known?.pageSize === 0 ? this.#base : undefined;
  }

  /** It begins as another one was, with that one's numbers. Its first commit makes a full segment of it. */
  begins(base: BranchBase, { commitSeq, epoch }: Pick<BranchPoint, 'commitSeq' | 'epoch'>): void {
    assert(this.mayBegin, `A branch begins while its tenant is ${this.#state}.`);
    this.#forgetLack();
    this.#known = { ...NOTHING, pos: this.pos + 1, lastSeq: commitSeq, epoch };
    this.#base = base;
    this.#addMark('base', this.#known, base);
    this.#state = 'chained';
    this.#isAlive = true;
    this.#mustRead = false;
  }

  /** It is still, and is to come back from the store by few requests. */
  shorten(): void {
    if (this.#segments >= FEW_SEGMENTS) this.renew();
  }

  /** It should have a new full segment, and nothing is missing before it has. */
  renew(): void {
    if (this.#state === 'chained') this.#renews = true;
  }

  /** The file is not as what is known of it, and no piece says why. */
  mayLack(): void {
    if (this.#state !== 'chained' || this.#known!.pageSize === 0) return;
    this.#mayLack = true;
    this.#noteLack();
  }

  get needsReading(): boolean {
    return this.#state === 'needs-full' || ((this.#renews || this.#mayLack) && this.#state === 'chained');
  }

  /** A process begins to read the whole file. @returns the number that its segment has to have */
  beginReading(): number {
    assert(this.needsReading, `A file is read while its tenant is ${this.#state}.`);
    this.#renews = this.#state === 'chained';
    this.#state = 'reading';
    this.#isReadingVoid = false;
    this.#mustRead = false;
    return this.pos + 1;
  }

  /** The segment is made; what was captured since follows on it. @returns whether it is of use */
  endReading(full: FullSegment): boolean {
    const since = this.#since;
    this.#since = [];
    if (this.#isReadingVoid) {
      this.#dropAll(since);
      return false;
    }
    assert(this.#state === 'reading', `A file was read while its tenant is ${this.#state}.`);
    const { entry } = full;
    assert(entry.max === this.pos + 1, 'A segment has another number than the one that it was given.');
    const dropped = this.#dropped;
    this.#forgetLack();
    const sinceMs = dropped?.sinceMs ?? entry.firstMs;
    this.#items.push({ kind: 'entry', sinceMs, entry, body: full.body });
    this.#known = { ...entry, pos: entry.max };
    this.#segments = 0;
    this.#state = 'chained';
    this.#isAlive = true;
    this.#renews = false;
    const note = full.mark && { pos: entry.max, to: entry.end, mark: full.mark };
    if (note !== undefined) this.#owner.writeNote(this.tenant, note);
    // What comes before the piece that continues from the segment is in the segment.
    const first = since.findLastIndex(
      message => message.kind === 'log' && continues(this.#known!, message, note).kind === 'continues',
    );
    this.#dropAll(first === -1 ? since : since.slice(0, first));
    // A close after which nothing came is still worth its note.
    if (first !== -1) for (const message of since.slice(first)) this.#take(message);
    else if (since.at(-1)?.kind === 'closed') this.#take(since.at(-1)!);
    // It may have been committed after the file was read.
    if (first === -1 && since.some(message => !isInside(message, entry.end))) this.mayLack();
    return true;
  }

  /** The file could not be read. @param isGone there is no such file */
  failReading(isGone: boolean): void {
    const since = this.#since;
    this.#since = [];
    if (isGone) this.#forgetLack();
    if (this.#renews && !this.#isReadingVoid) {
      this.#renews = false;
      this.#state = 'chained';
      for (const message of since) this.#take(message);
      return;
    }
    this.#dropAll(since);
    if (this.#isReadingVoid) return;
    assert(this.#state === 'reading', `A file was read while its tenant is ${this.#state}.`);
    this.#mustRead = true;
    // The broker says when a tenant is deleted.
    if (!isGone) this.#state = 'needs-full';
    else this.#state = this.#isAlive ? 'chained' : this.#known === undefined ? 'unknown' : 'deleted';
  }

  /** Items whose log could not be flushed cannot be stored, nor what follows on them. */
  dropUnflushed(): void {
    const first = this.#items.findIndex(item => item.kind !== 'entry' && item.unflushed !== undefined);
    if (first !== -1) this.#dropFrom(first);
  }

  /** What was taken cannot be stored, nor what follows on it. */
  giveUp(items: readonly PackItem[]): void {
    this.#items.unshift(...items);
    this.#dropFrom(0);
  }

  #dropFrom(first: number): void {
    const dropped = this.#items.splice(first);
    for (const item of dropped) {
      const { commits, bytes } = numbersOf(item);
      this.#dropped = addApart(this.#dropped, item.sinceMs, commits, bytes);
      if (item.kind !== 'entry') this.#owner.free(item);
    }
    // Nothing has to be before it.
    const end = dropped.findLast(item => item.kind === 'entry' && item.entry.kind === 'deleted');
    if (end !== undefined) this.#items.push(end);
    // A file that is read only for a shorter chain has to be read now.
    this.#renews = false;
    if (this.#state === 'chained') this.#break('lost');
  }

  #receivePiece(piece: CapturedLog): void {
    if (this.#state === 'off') this.#owner.free(shareOf(piece));
    else if (this.#state === 'reading') this.#since.push(piece);
    else if (this.#state === 'chained') this.#goOn(piece);
    else if (this.#state === 'deleted' && this.#continues(piece).kind === 'continues') {
      // The last piece of the deleted file.
      this.#owner.free(shareOf(piece));
    } else this.#begin(piece);
  }

  #goOn(piece: CapturedLog): void {
    const answer = this.#continues(piece);
    if (answer.kind === 'gap') {
      // A branch has nothing to continue from.
      if (this.#known!.pageSize !== 0) this.#break(answer.reason);
      this.#begin(piece);
    } else this.#addPages(piece, answer.skip);
  }

  /** A piece of which nothing is known before: a new tenant, or one whose chain broke. */
  #begin(piece: CapturedLog): void {
    const index = this.#mustRead ? -1 : findFirstFull(piece);
    if (index === -1) {
      this.#state = 'needs-full';
      this.#drop(piece);
      return;
    }
    const commits = numberCommits(piece.commits, this.#known).slice(0, index + 1);
    const isWhole = commits.length === piece.commits.length;
    const item = toFirstItem(piece, commits, this.pos + commits.length, {
      sinceMs: this.#dropped?.sinceMs,
      roomBytes: isWhole ? piece.frames.byteLength : 0,
    });
    this.#forgetLack();
    this.#items.push(item);
    this.#segments = 0;
    this.#know(item, item.commit);
    this.#state = 'chained';
    this.#isAlive = true;
    if (!isWhole) this.#addPages(piece, item.count);
  }

  #addPages(piece: CapturedLog, skip: number): void {
    this.#forgetLack();
    const fresh = numberCommits(
      piece.commits.filter(({ frames }) => frames > skip),
      this.#known,
    );
    if (fresh.length === 0) {
      this.#owner.free(shareOf(piece));
      return;
    }
    if (piece.frames.byteLength > MAX_PIECE_BYTES) {
      this.#break('lost');
      this.#drop(piece);
      return;
    }
    const item = toPagesItem(piece, skip, fresh, this.pos);
    this.#items.push(item);
    this.#segments++;
    this.#know(item, item.commits.at(-1)!);
  }

  #receiveLost(message: Extract<CaptureMessage, { kind: 'lost' }>): void {
    if (this.#state === 'reading') {
      if (this.#since.at(-1)?.kind !== 'lost') this.#since.push(message);
    } else if (this.#state === 'chained') this.#break('lost');
    else if (this.#state === 'unknown' || this.#state === 'deleted') this.#state = 'needs-full';
  }

  #receiveClosed(message: Extract<CaptureMessage, { kind: 'closed' }>): void {
    if (this.#state === 'reading') {
      this.#since.push(message);
      return;
    }
    // All of it is in the main file, which was flushed.
    for (const item of this.#items) if (item.kind !== 'entry') item.unflushed = undefined;
    const { to, mark } = message;
    if (this.#state !== 'chained' || this.#known === undefined || this.#known.pageSize === 0) return;
    if (isSamePosition(to, this.#known.end)) this.#owner.writeNote(this.tenant, { pos: this.pos, to, mark });
  }

  #continues(piece: CapturedLog): Continuity {
    const note = piece.mark && this.#owner.readNote(this.tenant);
    return continues(this.#known!, piece, note);
  }

  #know(
    { incarnation, pageSize, end }: CapturedItem,
    { pos, epoch, commitSeq, atMs, pages }: SegmentCommit,
  ): void {
    this.#known = { pos, end, incarnation, pageSize, epoch, lastSeq: commitSeq, lastMs: atMs, pages };
  }

  #break(reason: GapReason | 'lost'): void {
    this.#state = 'needs-full';
    this.#noteLack();
    this.gaps++;
    this.#owner.gap(this.tenant, reason);
  }

  #drop(piece: CapturedLog): void {
    this.#owner.free(shareOf(piece));
    if (this.#state === 'off' || this.#state === 'deleted') return;
    this.#dropped = addPiece(this.#dropped, piece);
  }

  #noteLack(): void {
    this.#dropped = addApart(this.#dropped, this.#owner.nowMs());
  }

  #forgetLack(): void {
    this.#dropped = undefined;
    this.#mayLack = false;
  }

  /** The room of what is in a full segment, or of no use. */
  #dropAll(messages: readonly CaptureMessage[]): void {
    for (const message of messages) if (message.kind === 'log') this.#owner.free(shareOf(message));
  }

  #voidReading(): void {
    if (this.#state !== 'reading') return;
    this.#isReadingVoid = true;
    this.#dropAll(this.#since);
    this.#since = [];
  }

  #addMark(kind: 'deleted' | 'base', known: KnownCommit, base?: BranchBase): void {
    const sinceMs = this.#owner.nowMs();
    const entry = { ...toMark(kind, this.tenant, known, sinceMs), base };
    this.#items.push({ kind: 'entry', sinceMs, entry });
  }
}
