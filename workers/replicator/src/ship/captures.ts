import { rmSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import { type CaptureMessage, CaptureRoom, spoolFolder } from '@onewriter/writer';
import { CapturePorts } from './capture-ports.ts';
import type { Failures } from './failures.ts';
import { FormerSpools } from './former-spools.ts';
import type { ReplicatorData } from './messages.ts';
import type { RoomShare } from './pack-item.ts';
import type { TenantLine } from './tenant-line.ts';

export interface CapturesOptions {
  readonly data: Pick<ReplicatorData, 'dataDir' | 'room'>;
  readonly lines: ReadonlyMap<string, TenantLine>;
  readonly failures: Failures;
  /** Calls {@link Captures.inOrder} as soon as it may. */
  readonly onMessage: (message: CaptureMessage) => void;
  readonly take: (message: CaptureMessage) => void;
}

/** Where pieces come from: what a former process left, then the writer threads; and where they are known to be stored. */
export class Captures {
  readonly #room: CaptureRoom;
  readonly #spools: FormerSpools;
  readonly #ports: CapturePorts;
  readonly #lines: ReadonlyMap<string, TenantLine>;
  readonly #failures: Failures;
  readonly #spool: string | undefined;

  constructor({ data, lines, failures, onMessage, take }: CapturesOptions) {
    this.#lines = lines;
    this.#failures = failures;
    this.#room = new CaptureRoom(data.room);
    this.#spool = spoolFolder(data.dataDir, this.#room.id);
    this.#spools = new FormerSpools({ dataDir: data.dataDir, room: this.#room, failures });
    this.#ports = new CapturePorts({
      onMessage,
      onSpoolFailed: message => failures.note('', new Error(message)),
      fits: message => lines.get(message.tenant)?.fits(message) ?? true,
      take,
    });
  }

  addPort(port: MessagePort): void {
    this.#ports.add(port);
  }

  /** Before any message is taken. @returns lines that have more now */
  takeFormer(): readonly TenantLine[] {
    return this.#spools.replay(this.#lines);
  }

  /** See {@link CapturePorts.inOrder}. */
  inOrder(message: CaptureMessage): void {
    this.#ports.inOrder(message);
  }

  /** All threads send what they have. */
  request(): void {
    this.#ports.request();
  }

  /** A piece is stored, or of no use. */
  free({ order, roomBytes }: RoomShare): void {
    if (roomBytes === 0) return;
    this.#room.giveBack(roomBytes);
    if (order < 0n) this.#spools.settle(order);
    else this.#ports.settle(order);
  }

  /** All that can be stored is, and the writers have ended. */
  removeSpool(): void {
    const path = this.#spool;
    // What waits for a whole file to be read is worth keeping.
    if (path === undefined || this.#ports.hasOpen) return;
    this.#failures.try('', () => rmSync(path, { recursive: true, force: true }));
  }

  close(): void {
    this.#ports.close();
  }
}
