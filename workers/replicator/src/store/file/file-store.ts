import { open } from 'node:fs/promises';
import { OnewriterError } from '@onewriter/protocol';
import type { ByteRange, CallOptions, ListedObject, PutCondition, StoredObject } from '../object-store.ts';
import { PassingError, repeatCall } from '../repeat-call.ts';
import { assertKey, assertPrefix, assertRange, resolveRange } from '../store-key.ts';
import { type OpenStore, type RequestKind, StoreWatch } from '../store-watch.ts';
import { CallSlots } from './call-slots.ts';
import { Directory } from './directory.ts';
import {
  changeVersion,
  hasVersions,
  newestVersion,
  removeFormer,
  removeVersions,
  type Version,
} from './versions.ts';
import { walkKeys } from './walk-keys.ts';

/** Calls that the file system has not answered, given up or not. A mount that hangs must not fill the memory. */
const MAX_UNDER_WAY = 64;
const PAGE = 1_000;
/** What a person has to change. Other errors may pass: a full disk, a mount that is away. */
const REFUSALS = [
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOTDIR',
  'EISDIR',
  'ELOOP',
  'ENAMETOOLONG',
  'ENOTSUP',
  'EOPNOTSUPP',
];

/** A directory as a store: a disk, or NFS, also of several machines. */
export class FileStore implements OpenStore {
  readonly address: string;
  readonly #directory: Directory;
  readonly #watch: StoreWatch;
  readonly #slots: CallSlots;
  #underWay = 0;

  private constructor(address: string, directory: Directory, callsAtATime: number) {
    this.address = address;
    this.#directory = directory;
    this.#slots = new CallSlots(callsAtATime);
    this.#watch = new StoreWatch(address);
  }

  /** @throws OnewriterError REPLICA_REFUSED where the directory is not there: its disk may not be mounted, so it is not made. */
  static async open(
    place: { readonly directory: string; readonly address: string },
    callsAtATime = MAX_UNDER_WAY,
  ): Promise<FileStore> {
    try {
      return new FileStore(place.address, await Directory.open(place.directory), callsAtATime);
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      const remedy = code === 'ENOENT' ? ` Mount it, or make it: mkdir -p '${place.directory}'.` : '';
      throw new OnewriterError(
        'REPLICA_REFUSED',
        `${place.address} cannot be used: ${message}.${remedy}`,
        {},
        cause,
      );
    }
  }

  status() {
    return this.#watch.status();
  }

  async get(
    key: string,
    options: CallOptions & { readonly range?: ByteRange | undefined } = {},
  ): Promise<StoredObject | undefined> {
    assertKey(key);
    if (options.range !== undefined) assertRange(options.range);
    return this.#call('get', `GET ${key}`, options, 0, async () => {
      const version = await newestVersion(this.#directory, key);
      if (version === undefined) {
        await this.#directory.assertSame();
        return undefined;
      }
      const object = await this.#read(version, options.range);
      this.#watch.answered(object.body.length);
      return object;
    });
  }

  async put(
    key: string,
    body: Uint8Array,
    options: CallOptions & { readonly condition?: PutCondition | undefined } = {},
  ): Promise<{ readonly kind: 'stored'; readonly etag: string } | { readonly kind: 'exists' }> {
    assertKey(key);
    return this.#call('put', `PUT ${key}`, options, body.byteLength, async () => {
      await this.#directory.assertSame();
      const stored = await this.#directory.withDraft(body, draft =>
        this.#store(key, draft, options.condition),
      );
      return stored === undefined ? { kind: 'exists' } : { kind: 'stored', etag: stored.etag };
    });
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    keys.forEach(assertKey);
    for (let from = 0; from < keys.length; from += PAGE) {
      await this.#call('delete', `DELETE of ${keys.length} objects`, options, 0, async () => {
        await this.#directory.assertSame();
        for (const key of keys.slice(from, from + PAGE)) await removeVersions(this.#directory, key);
      });
    }
  }

  async removeFormer(key: string, options: CallOptions = {}): Promise<void> {
    assertKey(key);
    await this.#call('delete', `DELETE of former states of ${key}`, options, 0, async () => {
      await this.#directory.assertSame();
      await removeFormer(this.#directory, key);
    });
  }

  async *list(
    prefix: string,
    options: CallOptions & { readonly after?: string | undefined } = {},
  ): AsyncIterable<ListedObject> {
    assertPrefix(prefix);
    if (options.after !== undefined) assertPrefix(options.after);
    let { after = '' } = options;
    for (;;) {
      const page = await this.#call('list', `LIST ${prefix}`, options, 0, () => this.#page(prefix, after));
      yield* page;
      if (page.length < PAGE) return;
      after = page.at(-1)!.key;
    }
  }

  async close(): Promise<void> {
    // Nothing is kept open.
  }

  async #page(prefix: string, after: string): Promise<readonly ListedObject[]> {
    await this.#directory.assertSame();
    const page: ListedObject[] = [];
    for await (const object of walkKeys(this.#directory.root, prefix, after)) {
      page.push(object);
      if (page.length === PAGE) break;
    }
    return page;
  }

  async #read({ name, etag, size }: Version, range: ByteRange | undefined): Promise<StoredObject> {
    const { from, to } = resolveRange(range, size);
    const file = await open(this.#directory.path(name), 'r');
    try {
      const body = Buffer.allocUnsafe(to - from);
      for (let done = 0; done < body.length; ) {
        const { bytesRead } = await file.read(body, done, body.length - done, from + done);
        if (bytesRead === 0) throw new PassingError('the object became shorter while it was read');
        done += bytesRead;
      }
      return { body, etag, size };
    } finally {
      await file.close();
    }
  }

  async #store(
    key: string,
    draft: string,
    condition: PutCondition | undefined,
  ): Promise<Version | undefined> {
    if (condition?.kind === 'etag') return changeVersion(this.#directory, key, condition.etag, draft);
    if (condition?.kind === 'new') {
      const isNew = !(await hasVersions(this.#directory, key)) && (await this.#directory.linkNew(draft, key));
      return isNew ? this.#written(key) : undefined;
    }
    // An object that has numbered states must get the next of them, or it would not be the newest.
    for (
      let present = await this.#numbered(key);
      present !== undefined;
      present = await this.#numbered(key)
    ) {
      const changed = await changeVersion(this.#directory, key, present.etag, draft);
      if (changed !== undefined) return changed;
    }
    await this.#directory.renameOver(draft, key);
    return this.#written(key);
  }

  /** The state after a PUT that succeeded; another may have followed it. */
  async #written(key: string): Promise<Version> {
    const version = await newestVersion(this.#directory, key);
    if (version === undefined) throw new PassingError(`${key} was deleted while it was stored`);
    return version;
  }

  async #numbered(key: string): Promise<Version | undefined> {
    return (await hasVersions(this.#directory, key)) ? newestVersion(this.#directory, key) : undefined;
  }

  /** Calls of the file system cannot be given up: at the deadline the caller is answered, and the call ends some time. */
  #call<T>(
    kind: RequestKind,
    what: string,
    options: CallOptions,
    bytes: number,
    act: () => Promise<T>,
  ): Promise<T> {
    return repeatCall(what, options, async signal => {
      if (this.#underWay >= MAX_UNDER_WAY) throw new PassingError('the file system does not answer');
      this.#underWay++;
      this.#watch.sent(kind, bytes);
      try {
        const acting = this.#inTurn(act, signal).finally(() => this.#underWay--);
        const value = await untilAborted(acting, signal);
        this.#watch.answered();
        return value;
      } catch (error) {
        if (!options.signal?.aborted) this.#watch.failed((error as Error).message);
        throw toStoreError(what, error as NodeJS.ErrnoException);
      }
    });
  }

  async #inTurn<T>(act: () => Promise<T>, signal: AbortSignal): Promise<T> {
    await this.#slots.take(signal);
    try {
      return await act();
    } finally {
      this.#slots.give();
    }
  }
}

function toStoreError(what: string, error: NodeJS.ErrnoException): Error {
  if (error.code === undefined || error instanceof OnewriterError) return error;
  if (!REFUSALS.includes(error.code)) return new PassingError(error.message, { cause: error });
  return new OnewriterError('REPLICA_REFUSED', `${what} was refused: ${error.message}.`, {}, error);
}

async function untilAborted<T>(acting: Promise<T>, signal: AbortSignal): Promise<T> {
  let giveUp = () => {};
  const aborted = new Promise<never>((_, reject) => {
    giveUp = () => reject(new Error('no answer in time'));
    signal.addEventListener('abort', giveUp, { once: true });
  });
  try {
    return await Promise.race([acting, aborted]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
