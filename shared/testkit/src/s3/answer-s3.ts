import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { S3Kind } from './s3-faults.ts';
import type { S3Objects } from './s3-objects.ts';

/** A request to the bucket, with its body. */
export interface S3Call {
  readonly method: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly ignoresConditions: boolean;
}

export interface S3Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string | number>> | undefined;
  readonly body?: Buffer | undefined;
}

const MAX_PAGE = 1_000;

/** What a request is billed as; undefined: this server has no such request. */
export function kindOf({ method, key, query }: Pick<S3Call, 'method' | 'key' | 'query'>): S3Kind | undefined {
  if (key === '') {
    if (method === 'GET' && query.get('list-type') === '2') return 'list';
    return method === 'POST' && query.has('delete') ? 'delete' : undefined;
  }
  return ({ GET: 'get', HEAD: 'get', PUT: 'put', DELETE: 'delete' } as const)[method];
}

/** Does what S3 does. */
export function answerS3(objects: S3Objects, call: S3Call): S3Answer {
  const kind = kindOf(call);
  if (kind === undefined) return failure(501, 'NotImplemented');
  if (kind === 'list') return list(objects, call.query);
  if (kind === 'put') return put(objects, call);
  if (kind === 'get') return get(objects, call);
  if (call.method === 'POST') return deleteMany(objects, call);
  objects.delete(call.key);
  return { status: 204 };
}

export function failure(status: number, code: string): S3Answer {
  return { status, body: xml(`<Error><Code>${code}</Code><Message>${code}</Message></Error>`) };
}

function put(objects: S3Objects, { key, body, headers, ignoresConditions }: S3Call): S3Answer {
  const present = objects.get(key);
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = headers;
  if (!ignoresConditions) {
    if (ifNoneMatch === '*' && present !== undefined) return failure(412, 'PreconditionFailed');
    if (ifMatch !== undefined && present === undefined) return failure(404, 'NoSuchKey');
    if (ifMatch !== undefined && present?.etag !== ifMatch) return failure(412, 'PreconditionFailed');
  }
  return { status: 200, headers: { etag: objects.set(key, body).etag } };
}

function get(objects: S3Objects, { key, headers }: S3Call): S3Answer {
  const object = objects.get(key);
  if (object === undefined) return failure(404, 'NoSuchKey');
  const { etag, size } = object;
  const common = { etag, 'last-modified': object.modified.toUTCString(), 'accept-ranges': 'bytes' };
  const range = /^bytes=(\d*)-(\d*)$/.exec(headers.range ?? '');
  if (range === null) return { status: 200, headers: common, body: object.read() };
  const [, first = '', last = ''] = range;
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const to = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  if (from >= to) {
    return { ...failure(416, 'InvalidRange'), headers: { 'content-range': `bytes */${size}` } };
  }
  return {
    status: 206,
    headers: { ...common, 'content-range': `bytes ${from}-${to - 1}/${size}` },
    body: object.read().subarray(from, to),
  };
}

function list(objects: S3Objects, query: URLSearchParams): S3Answer {
  const prefix = query.get('prefix') ?? '';
  const max = Math.min(MAX_PAGE, Number(query.get('max-keys') ?? MAX_PAGE));
  const token = query.get('continuation-token');
  const after = token === null ? (query.get('start-after') ?? '') : Buffer.from(token, 'base64').toString();
  const found = objects.keys().filter(key => key.startsWith(prefix) && key > after);
  const page = found.slice(0, max);
  const isTruncated = found.length > max;
  const next = isTruncated ? Buffer.from(page.at(-1)!).toString('base64') : undefined;
  const contents = page.map(key => {
    const { size, etag, modified } = objects.get(key)!;
    return `<Contents><Key>${escapeXml(key)}</Key><LastModified>${modified.toISOString()}</LastModified><ETag>${escapeXml(etag)}</ETag><Size>${size}</Size></Contents>`;
  });
  return {
    status: 200,
    body: xml(
      `<ListBucketResult><KeyCount>${page.length}</KeyCount><IsTruncated>${isTruncated}</IsTruncated>` +
        `${next === undefined ? '' : `<NextContinuationToken>${next}</NextContinuationToken>`}${contents.join('')}</ListBucketResult>`,
    ),
  };
}

function deleteMany(objects: S3Objects, { body, headers }: S3Call): S3Answer {
  const md5 = headers['content-md5'];
  if (md5 === undefined) return failure(400, 'InvalidRequest');
  if (md5 !== createHash('md5').update(body).digest('base64')) return failure(400, 'BadDigest');
  const keys = [...body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => key!);
  if (keys.length === 0 || keys.length > MAX_PAGE) return failure(400, 'MalformedXML');
  for (const key of keys) objects.delete(key);
  return { status: 200, body: xml('<DeleteResult></DeleteResult>') };
}

function xml(text: string): Buffer {
  return Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${text}`);
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
