import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** An object of {@link S3Objects}. */
export interface S3Object {
  readonly etag: string;
  readonly size: number;
  readonly modified: Date;
  readonly read: () => Buffer;
}

/** The objects of one bucket, by key. */
export interface S3Objects {
  get(key: string): S3Object | undefined;
  set(key: string, body: Buffer): S3Object;
  delete(key: string): void;
  /** All keys, by their bytes. */
  keys(): readonly string[];
}

/** Keeps objects in memory, or as files of a directory, whose objects a later server has again. */
export function createObjects(directory?: string | undefined): S3Objects {
  const objects = new Map<string, S3Object>();
  let sorted: readonly string[] | undefined;
  const pathOf = (key: string) => join(directory!, encodeURIComponent(key));
  const keep = (key: string, body: Buffer): S3Object => {
    const object: S3Object = {
      etag: `"${createHash('md5').update(body).digest('hex')}"`,
      size: body.length,
      modified: new Date(),
      read: directory === undefined ? () => body : () => readFileSync(pathOf(key)),
    };
    if (!objects.has(key)) sorted = undefined;
    objects.set(key, object);
    return object;
  };
  if (directory !== undefined) {
    mkdirSync(directory, { recursive: true });
    for (const name of readdirSync(directory)) {
      keep(decodeURIComponent(name), readFileSync(join(directory, name)));
    }
  }
  return {
    get: key => objects.get(key),
    set: (key, body) => {
      if (directory !== undefined) writeFileSync(pathOf(key), body);
      return keep(key, body);
    },
    delete: key => {
      if (!objects.delete(key)) return;
      sorted = undefined;
      if (directory !== undefined) rmSync(pathOf(key));
    },
    keys: () => {
      sorted ??= [...objects.keys()].sort((one, other) =>
        Buffer.compare(Buffer.from(one), Buffer.from(other)),
      );
      return sorted;
    },
  };
}
