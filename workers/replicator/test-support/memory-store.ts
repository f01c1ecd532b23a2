import { createHash } from 'node:crypto';
import type {
  ByteRange,
  ListedObject,
  ObjectStore,
  PutCondition,
  StoredObject,
} from '../src/store/object-store.ts';

/** A store in memory, for tests of what is above it. */
export class MemoryStore implements ObjectStore {
  readonly address = 'memory:';
  readonly objects = new Map<string, Buffer>();
  readonly requests = { get: 0, put: 0, delete: 0, list: 0 };

  async get(
    key: string,
    { range }: { readonly range?: ByteRange | undefined } = {},
  ): Promise<StoredObject | undefined> {
    this.requests.get++;
    const body = this.objects.get(key);
    if (body === undefined) return undefined;
    return { body: Buffer.from(cut(body, range)), etag: etagOf(body), size: body.length };
  }

  async put(
    key: string,
    body: Uint8Array,
    { condition }: { readonly condition?: PutCondition | undefined } = {},
  ) {
    this.requests.put++;
    const present = this.objects.get(key);
    const holds =
      condition === undefined ||
      (condition.kind === 'new'
        ? present === undefined
        : present !== undefined && etagOf(present) === condition.etag);
    if (!holds) return { kind: 'exists' } as const;
    const copy = Buffer.from(body);
    this.objects.set(key, copy);
    return { kind: 'stored', etag: etagOf(copy) } as const;
  }

  async delete(keys: readonly string[]): Promise<void> {
    this.requests.delete++;
    for (const key of keys) this.objects.delete(key);
  }

  async *list(
    prefix: string,
    { after = '' }: { readonly after?: string | undefined } = {},
  ): AsyncIterable<ListedObject> {
    this.requests.list++;
    for (const key of [...this.objects.keys()].sort())
      if (key.startsWith(prefix) && key > after)
        yield { key, size: this.objects.get(key)!.length, modifiedMs: 0 };
  }

  async close(): Promise<void> {}
}

function cut(body: Buffer, range: ByteRange | undefined): Buffer {
  if (range === undefined) return body;
  if ('last' in range) return body.subarray(Math.max(0, body.length - range.last));
  return body.subarray(range.from, range.from + range.length);
}

function etagOf(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex').slice(0, 32);
}
