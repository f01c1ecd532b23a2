import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { ObjectStore, PutCondition, StoredObject } from '../store/object-store.ts';
import type { ChainState } from './chain-state.ts';
import type { SegmentEntry } from './entry.ts';

/*
 * Bodies are encrypted with AES-256-GCM before they leave the machine: with one key made from the master key, or with a key for each
 * tenant, which is stored under the master key. Without its tenant's key no body of it can be read, in whichever pack, level or copy
 * it is: so a tenant is erased by erasing one small object.
 */

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Reason of REPLICA_REFUSED where a key was erased, or is not given: nothing is damaged. */
export const KEY_MISSING = 'key missing';
const KEY_DAMAGED = 'damaged key';
const KEYS = 'keys/';
const KEY_END = '.json';
/** Keys of tenants that are kept in memory. */
const MAX_KEPT = 10_000;

/** What a body belongs to: a body of another place does not decrypt. */
export type BodyPlace = Pick<SegmentEntry, 'tenant' | 'kind' | 'min' | 'max'> & {
  /** Number of its part, where it has several. */
  readonly part?: number | undefined;
};

interface DataKey {
  readonly id: string;
  readonly key: Buffer;
}

/** One of a tenant's keys, or why it cannot be used. */
type TenantKey = DataKey | { readonly id: string; readonly refusal: OnewriterError };

/** Whether a tenant's key cannot be used: the store may answer all the same. */
export function isKeyRefused(error: unknown): error is OnewriterError {
  if (!isOnewriterError(error, 'REPLICA_REFUSED')) return false;
  return error.details.reason === KEY_MISSING || error.details.reason === KEY_DAMAGED;
}

/** As stored in `keys/<tenant>.json`. */
export interface TenantKeys {
  readonly v: 1;
  readonly tenant: string;
  /** The newest last; none where they were erased. */
  readonly keys: readonly { readonly id: string; readonly master: string; readonly wrapped: string }[];
  readonly erasedAtMs?: number | undefined;
}

export interface KeyringOptions {
  /** 32 bytes in base64 each, the present one first; none: nothing is encrypted. */
  readonly masterKeys: readonly string[];
  readonly keys: 'one' | 'tenant';
  readonly store: ObjectStore;
  /** Keys of tenants as another keyring knew them: they are not read again while they fit. */
  readonly known?: readonly TenantKeys[] | undefined;
}

/** The keys of a store's segments. */
export class Keyring {
  readonly #masters: readonly DataKey[];
  readonly #perTenant: boolean;
  readonly #store: ObjectStore;
  /** By tenant; the most recently used last. */
  readonly #kept = new Map<string, Promise<readonly TenantKey[]>>();
  /** Of the same tenants, as they are stored. */
  readonly #known: Map<string, TenantKeys>;

  /** @throws OnewriterError MISCONFIGURED for a master key of another length. */
  constructor({ masterKeys, keys, store, known = [] }: KeyringOptions) {
    this.#masters = masterKeys.map(parseMaster);
    this.#perTenant = keys === 'tenant';
    this.#store = store;
    this.#known = new Map(known.map(each => [each.tenant, each]));
  }

  /**
   * Encrypts a body with the newest key.
   * @param mayReplace a key that cannot be used gets another behind it. Default: for a full segment, which needs nothing before it
   * @returns what is to be stored, and the id of the key
   * @throws OnewriterError REPLICA_REFUSED where the tenant's key cannot be used, see {@link isKeyRefused}
   */
  async seal(
    place: BodyPlace,
    body: Buffer,
    mayReplace = place.kind === 'full',
  ): Promise<{ readonly body: Buffer; readonly key: string }> {
    const [master] = this.#masters;
    if (master === undefined) return { body, key: '' };
    const key = this.#perTenant ? await this.#newestOf(place.tenant, mayReplace) : segmentKeyOf(master);
    return { body: encrypt(key.key, body, associatedOf(place)), key: key.id };
  }

  /** Whether there is the key to a body; not asked of the store, which may lack a tenant's own. */
  has(keyId: string): boolean {
    if (keyId.startsWith('m')) return this.#masters.some(({ id }) => id === keyId);
    return keyId === '' || this.#masters.length > 0;
  }

  /** Tenants with segments whose key is not given any more: no restore could read what comes on top of those. */
  unreadable(tenants: ReadonlyMap<string, ChainState>): readonly string[] {
    return [...tenants]
      .filter(([, { places }]) => !places.every(({ entry }) => this.has(entry.key)))
      .map(([tenant]) => tenant);
  }

  /** @throws OnewriterError REPLICA_REFUSED where the key is not there, or was erased, or does not fit. */
  async open(place: BodyPlace, keyId: string, body: Buffer): Promise<Buffer> {
    if (keyId === '') return body;
    const isOwn = !keyId.startsWith('m');
    const find = (keys: readonly TenantKey[]) => keys.find(({ id }) => id === keyId);
    let key = find(isOwn ? await this.#keysOf(place.tenant) : this.#masters.map(segmentKeyOf));
    if (key === undefined && isOwn && this.#known.has(place.tenant)) {
      // It has another one since.
      this.forget(place.tenant);
      key = find(await this.#keysOf(place.tenant));
    }
    if (key === undefined) {
      throw refused(
        place.tenant,
        `The replica is encrypted with the key ${keyId}, which is not there: it was erased, or ONEWRITER_REPLICA_KEY is another.`,
        KEY_MISSING,
      );
    }
    if ('refusal' in key) throw this.#refuse(place.tenant, key.refusal);
    try {
      return decrypt(key.key, body, associatedOf(place));
    } catch {
      throw refused(place.tenant, 'A segment of the replica does not decrypt: it was changed in the store.');
    }
  }

  /**
   * Makes all that is stored of a tenant unreadable, for ever. Only with a key for each tenant.
   * @param check throws where the tenant must not be erased: asked before its key is taken away, and once more after that, as a
   * tenant of its name may have come and use it; then it gets the key back
   */
  async erase(tenant: string, atMs: number, check: () => Promise<void>): Promise<void> {
    if (!this.#perTenant)
      throw new OnewriterError(
        'MISCONFIGURED',
        'Tenants have no keys of their own: ONEWRITER_REPLICA_KEYS is "one".',
      );
    this.forget(tenant);
    const key = keyObject(tenant);
    const found = await this.#store.get(key);
    await check();
    const erased: TenantKeys = { v: 1, tenant, keys: [], erasedAtMs: atMs };
    const body = Buffer.from(JSON.stringify(erased));
    const put = await this.#store.put(key, body, { condition: asIn(found) });
    const present = put.kind === 'stored' ? put : await this.#store.get(key);
    // Another process has changed it; a reply that was lost looks alike.
    const isTaken =
      put.kind === 'stored' || (present !== undefined && 'body' in present && present.body.equals(body));
    if (!isTaken) return this.erase(tenant, atMs, check);
    try {
      await check();
    } catch (error) {
      // Not where the tenant has another one since.
      if (found !== undefined)
        await this.#store.put(key, found.body, { condition: { kind: 'etag', etag: present!.etag } });
      throw error;
    }
    await this.#store.removeFormer?.(key);
  }

  /** Whether {@link erase} was done, and the tenant has no other key since. */
  async isErased(tenant: string): Promise<boolean> {
    const found = await this.#store.get(keyObject(tenant));
    return found !== undefined && parseKeys(tenant, found.body).keys.length === 0;
  }

  /** Whether a tenant still has a key of its own, as the store says now. */
  async hasStill(tenant: string, keyId: string): Promise<boolean> {
    this.forget(tenant);
    try {
      return (await this.#keysOf(tenant)).some(({ id }) => id === keyId);
    } catch (error) {
      if (isKeyRefused(error)) return false;
      throw error;
    }
  }

  /** Tenants with keys of their own: lists the store. */
  async *tenants(signal?: AbortSignal | undefined): AsyncIterable<string> {
    for await (const { key } of this.#store.list(KEYS, { signal })) {
      if (key.endsWith(KEY_END)) yield key.slice(KEYS.length, -KEY_END.length);
    }
  }

  /** The key is read again: it may have been erased since. */
  forget(tenant: string): void {
    this.#kept.delete(tenant);
    this.#known.delete(tenant);
  }

  /** Keys that were read, as they are stored: of no use without the master key. */
  known(): readonly TenantKeys[] {
    return [...this.#known.values()];
  }

  /** Puts a tenant's keys under the present master key. @returns whether they were under another */
  async rewrap(tenant: string): Promise<boolean> {
    const [master] = this.#masters;
    const found = await this.#store.get(keyObject(tenant));
    if (found === undefined || master === undefined) return false;
    const stored = parseKeys(tenant, found.body);
    if (stored.keys.every(key => key.master === master.id)) return false;
    const keys = this.#unwrap(stored).map(key => {
      if ('refusal' in key) throw key.refusal;
      return this.#wrap(tenant, key);
    });
    const put = await this.#store.put(keyObject(tenant), Buffer.from(JSON.stringify({ ...stored, keys })), {
      condition: { kind: 'etag', etag: found.etag },
    });
    if (put.kind === 'exists') return this.rewrap(tenant);
    this.forget(tenant);
    return true;
  }

  async #newestOf(tenant: string, mayReplace: boolean): Promise<DataKey> {
    const newest = await this.#newestStored(tenant, mayReplace);
    if (newest !== undefined && 'key' in newest) return newest;
    if (newest !== undefined && !mayReplace) throw this.#refuse(tenant, newest.refusal);
    // There is none, or it was erased, or cannot be used: what comes from now on has another.
    const made = { id: `t${randomBytes(8).toString('hex')}`, key: randomBytes(KEY_BYTES) };
    const found = await this.#store.get(keyObject(tenant));
    if (found !== undefined && !mayReplace && keysIn(tenant, found.body).length === 0)
      throw refused(tenant, 'The key of the tenant was erased, and with it what comes before.', KEY_MISSING);
    // A key that cannot be used now is kept: its master key may be given again.
    const former = found === undefined ? [] : keysIn(tenant, found.body);
    const there = this.#unwrap({ v: 1, tenant, keys: former }).at(-1);
    if (there !== undefined && 'key' in there) {
      // Another process made it meanwhile, and may have stored bodies under it.
      this.forget(tenant);
      return there;
    }
    const stored: TenantKeys = { v: 1, tenant, keys: [...former, this.#wrap(tenant, made)] };
    const body = Buffer.from(JSON.stringify(stored));
    const put = await this.#store.put(keyObject(tenant), body, { condition: asIn(found) });
    this.forget(tenant);
    return put.kind === 'stored' ? made : this.#newestOf(tenant, mayReplace);
  }

  async #newestStored(tenant: string, mayReplace: boolean): Promise<TenantKey | undefined> {
    try {
      return (await this.#keysOf(tenant)).at(-1);
    } catch (error) {
      if (mayReplace && isKeyRefused(error)) return undefined;
      throw error;
    }
  }

  /** It is read again the next time: rewrapping may have made it usable. */
  #refuse(tenant: string, refusal: OnewriterError): OnewriterError {
    this.forget(tenant);
    return refusal;
  }

  #keysOf(tenant: string): Promise<readonly TenantKey[]> {
    const kept = this.#kept.get(tenant) ?? this.#read(tenant);
    this.#kept.delete(tenant);
    this.#kept.set(tenant, kept);
    kept.catch(() => this.#kept.delete(tenant));
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MAX_KEPT) break;
      this.forget(oldest);
    }
    return kept;
  }

  async #read(tenant: string): Promise<readonly TenantKey[]> {
    let keys = this.#known.get(tenant);
    if (keys === undefined) {
      const found = await this.#store.get(keyObject(tenant));
      if (found === undefined) return [];
      keys = parseKeys(tenant, found.body);
      this.#known.set(tenant, keys);
    }
    return this.#unwrap(keys);
  }

  #wrap(tenant: string, { id, key }: DataKey) {
    const [master] = this.#masters;
    return {
      id,
      master: master!.id,
      wrapped: encrypt(master!.key, key, `key ${tenant} ${id}`).toString('base64'),
    };
  }

  #unwrap({ tenant, keys }: TenantKeys): TenantKey[] {
    return keys.map(({ id, master, wrapped }) => {
      const under = this.#masters.find(candidate => candidate.id === master);
      if (under === undefined) {
        const message = `The tenant's key is under the master key ${master}, which is not given.`;
        return { id, refusal: refused(tenant, message, KEY_MISSING) };
      }
      try {
        return { id, key: decrypt(under.key, Buffer.from(wrapped, 'base64'), `key ${tenant} ${id}`) };
      } catch {
        return { id, refusal: damagedKey(tenant) };
      }
    });
  }
}

/** @throws OnewriterError REPLICA_REFUSED where the object was changed in the store */
function parseKeys(tenant: string, body: Buffer): TenantKeys {
  try {
    const stored = JSON.parse(body.toString()) as TenantKeys;
    if (Array.isArray(stored.keys)) return stored;
  } catch {
    // As one that is something else.
  }
  throw damagedKey(tenant);
}

/** None of an object that was changed in the store. */
function keysIn(tenant: string, body: Buffer): TenantKeys['keys'] {
  try {
    return parseKeys(tenant, body).keys;
  } catch {
    return [];
  }
}

function damagedKey(tenant: string): OnewriterError {
  const message = `The object ${keyObject(tenant)} of the replica cannot be used: it was changed in the store.`;
  return refused(tenant, message, KEY_DAMAGED);
}

/** It must be as it was read. */
function asIn(found: StoredObject | undefined): PutCondition {
  return found === undefined ? { kind: 'new' } : { kind: 'etag', etag: found.etag };
}

function keyObject(tenant: string): string {
  return `${KEYS}${tenant}${KEY_END}`;
}

function parseMaster(text: string): DataKey {
  const key = Buffer.from(text, 'base64');
  if (key.length !== KEY_BYTES) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `ONEWRITER_REPLICA_KEY has ${key.length} bytes in base64, and must have ${KEY_BYTES}: openssl rand -base64 32.`,
    );
  }
  return { id: `m${createHash('sha256').update(key).digest('hex').slice(0, 16)}`, key };
}

/** The master key itself encrypts nothing but keys. */
function segmentKeyOf({ id, key }: DataKey): DataKey {
  return { id, key: Buffer.from(hkdfSync('sha256', key, '', 'onewriter segments', KEY_BYTES)) };
}

function associatedOf({ tenant, kind, min, max, part = 0 }: BodyPlace): string {
  return `${tenant} ${kind} ${min} ${max} ${part}`;
}

function encrypt(key: Buffer, plain: Buffer, associated: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(associated));
  const sealed = cipher.update(plain);
  return Buffer.concat([nonce, sealed, cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Buffer, sealed: Buffer, associated: string): Buffer {
  const cipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES)).setAAD(
    Buffer.from(associated),
  );
  cipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  return Buffer.concat([
    cipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES)),
    cipher.final(),
  ]);
}

function refused(tenant: string, message: string, reason = 'damaged segment'): OnewriterError {
  return new OnewriterError('REPLICA_REFUSED', message, { tenant, reason });
}
