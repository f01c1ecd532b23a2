import { MessageChannel } from 'node:worker_threads';
import { tenantFile } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import {
  type CaptureMessage,
  type CaptureRequest,
  CaptureRoom,
  CaptureSpool,
  spoolFolder,
} from '@onewriter/writer';
import { onTestFinished } from 'vitest';
import { Keyring } from '../src/format/keyring.ts';
import { encodeBody } from '../src/format/segment-body.ts';
import type { ReadFull } from '../src/ship/full-queue.ts';
import type { FromReplicator, ToReplicator } from '../src/ship/messages.ts';
import { Shipper, type ShipperOptions } from '../src/ship/shipper.ts';
import type { OpenStore } from '../src/store/store-watch.ts';
import { CapturedFile, markOf } from './captured-file.ts';
import { restored } from './restored.ts';
import { testEntry } from './test-entry.ts';

const PAGE = 4_096;

export interface TestShipOptions extends Partial<Omit<ShipperOptions, 'store'>> {
  readonly store: OpenStore;
  readonly dataDir: string;
  /** Default: 40. */
  readonly intervalMs?: number;
  /** What is sent is kept until it is stored. */
  readonly spooled?: boolean;
}

/** A shipper with one port, and files whose pieces go there. */
export class TestShip {
  readonly shipper: Shipper;
  readonly messages: FromReplicator[] = [];
  readonly files = new Map<string, CapturedFile>();
  readonly room = CaptureRoom.create(256 * 1024 * 1024).buffer;
  /** The folder of what is kept. */
  readonly spool: string;
  readonly #spool: CaptureSpool | undefined;
  readonly #channel = new MessageChannel();
  readonly fatal: unknown[] = [];
  readonly #store: OpenStore;
  readonly #dataDir: string;
  fulls = 0;

  constructor(options: TestShipOptions) {
    const { store, dataDir } = options;
    this.#store = store;
    this.#dataDir = dataDir;
    const maxBytes = 256 * 1024 * 1024;
    this.spool = spoolFolder(dataDir, new CaptureRoom(this.room).id)!;
    const spool = { folder: this.spool, maxBytes, onFailed: (error: Error) => this.fatal.push(error) };
    this.#spool = options.spooled ? new CaptureSpool(spool) : undefined;
    const keys = new Keyring({ masterKeys: [], keys: 'one', store });
    const readFull: ReadFull = async (tenant, pos) => {
      this.fulls++;
      return readWhole(this.file(tenant), pos);
    };
    this.shipper = new Shipper({
      keys,
      readFull,
      copyBranch: async () => Promise.reject(new Error('The test copies no branch.')),
      instance: String(Math.random()),
      compact: async () => ({
        packs: [],
        needsFull: [],
        isExpiryHeld: false,
        damaged: { tenants: [], packs: [] },
      }),
      copies: [],
      post: message => this.messages.push(message),
      onFatal: error => this.fatal.push(error),
      data: {
        urls: ['memory:'],
        ...{ dataDir, dbFile: 'tenant.db', dataDirId: 'directory-1', group: 'main' },
        ...{ intervalMs: options.intervalMs ?? 40, retentionMs: 1, keys: 'one', room: this.room },
        rehearsals: false,
      },
      ...options,
    });
    // The writers' thread answers each request.
    this.#channel.port2.on('message', ({ done }: CaptureRequest) => {
      this.#spool?.cut(done);
      for (const file of this.files.values()) file.capture();
    });
    this.receive({ kind: 'port', port: this.#channel.port1 });
    onTestFinished(() => this.stop());
  }

  receive(message: ToReplicator): void {
    this.shipper.receive(message);
  }

  file(tenant: string): CapturedFile {
    const known = this.files.get(tenant);
    if (known !== undefined) return known;
    const file = new CapturedFile(tenant, tenantFile(this.#dataDir, tenant, 'tenant.db'), message =>
      this.send(message),
    );
    this.files.set(tenant, file);
    return file;
  }

  send(message: CaptureMessage): void {
    this.#spool?.append(message);
    if (message.kind === 'log') this.used += BigInt(message.frames.byteLength);
    this.#channel.port2.postMessage(message, message.kind === 'log' ? [message.frames] : []);
  }

  get used(): bigint {
    return new BigInt64Array(this.room)[0]!;
  }

  set used(bytes: bigint) {
    new BigInt64Array(this.room)[0] = bytes;
  }

  of<K extends FromReplicator['kind']>(kind: K): Extract<FromReplicator, { kind: K }>[] {
    return this.messages.filter(message => message.kind === kind) as Extract<FromReplicator, { kind: K }>[];
  }

  /** Waits until the store has the tenant as its file is. */
  async isStored(tenant: string): Promise<void> {
    await waitFor(async () => (await restored(this.#store, tenant))?.equals(this.file(tenant).image()), {
      what: `${tenant} to be stored`,
    });
  }

  async stop(): Promise<void> {
    await this.shipper.close();
    this.#channel.port2.close();
    this.#spool?.close();
    for (const file of this.files.values()) if (file.isOpen) file.kill();
  }
}

/** A whole file, in a pack, as of the end of its log. */
export async function readWhole(file: CapturedFile, pos: number) {
  const image = file.image();
  const pages = Array.from({ length: image.length / PAGE }, (_, index) => ({
    number: index + 1,
    bytes: image.subarray(index * PAGE, (index + 1) * PAGE),
  }));
  const commit = {
    pos,
    commitSeq: file.commitSeq,
    atMs: 1,
    epoch: 1,
    pages: pages.length,
    frames: pages.length,
  };
  const body = await encodeBody({ v: 1, tenant: file.tenant, pageSize: PAGE, commits: [commit] }, pages);
  const { end } = file;
  const entry = testEntry({
    ...{ tenant: file.tenant, kind: 'full', min: pos, max: pos, end, pages: pages.length, incarnation: '' },
    ...{ lastSeq: file.commitSeq, firstSeq: file.commitSeq },
  });
  return { entry, body, mark: end.salts === '' ? markOf(file.path) : undefined };
}
