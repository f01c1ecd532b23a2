import { createHash, createHmac } from 'node:crypto';
import type { S3Settings } from './s3-settings.ts';

/*
 * AWS Signature Version 4, by the header of a request. Hashed at once, in the thread that asks: a hand-over to another thread for each
 * of its six hashes takes longer than they do.
 * Source: AWS General Reference, "Create a signed AWS API request".
 */

const ALGORITHM = 'AWS4-HMAC-SHA256';
const SERVICE = 's3';
const END = 'aws4_request';
const NO_BYTES = new Uint8Array();

export interface UnsignedRequest {
  readonly method: string;
  /** Its path is of characters that need no escape, or is escaped. */
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | undefined;
}

/** Signs the requests of one store. */
export class RequestSigner {
  readonly #settings: S3Settings;
  /** Of a day, which the first 8 characters of a time are. */
  #key: { readonly day: string; readonly bytes: Buffer } | undefined;

  constructor(settings: S3Settings) {
    this.#settings = settings;
  }

  /** @returns all headers of the request */
  sign({ method, url, headers, body }: UnsignedRequest, now = new Date()): Record<string, string> {
    const { region, accessKeyId, sessionToken } = this.#settings;
    const time = now.toISOString().replace(/[-:]|\.\d{3}/g, '');
    const day = time.slice(0, 8);
    const signed: Record<string, string> = {
      ...headers,
      host: url.host,
      'x-amz-date': time,
      // TLS protects the body; without it only its hash in the signature does.
      'x-amz-content-sha256': url.protocol === 'https:' ? 'UNSIGNED-PAYLOAD' : sha256(body ?? NO_BYTES),
      ...(sessionToken !== undefined && { 'x-amz-security-token': sessionToken }),
    };
    const names = Object.keys(signed).sort();
    const canonical = [
      ...[method, url.pathname, canonicalQuery(url)],
      ...names.map(name => `${name}:${signed[name]!.trim()}`),
      ...['', names.join(';'), signed['x-amz-content-sha256']],
    ].join('\n');
    const scope = [day, region, SERVICE, END].join('/');
    const text = [ALGORITHM, time, scope, sha256(canonical)].join('\n');
    const signature = hmac(this.#keyOf(day), text).toString('hex');
    const authorization = [
      `${ALGORITHM} Credential=${accessKeyId}/${scope}`,
      `SignedHeaders=${names.join(';')}`,
      `Signature=${signature}`,
    ].join(', ');
    return { ...signed, authorization };
  }

  #keyOf(day: string): Buffer {
    if (this.#key?.day !== day) {
      const { secretAccessKey, region } = this.#settings;
      const dayKey = hmac(Buffer.from(`AWS4${secretAccessKey}`), day);
      this.#key = { day, bytes: hmac(hmac(hmac(dayKey, region), SERVICE), END) };
    }
    return this.#key.bytes;
  }
}

function canonicalQuery({ searchParams }: URL): string {
  const pairs = [...searchParams].map(pair => pair.map(encodeStrictly).join('='));
  return pairs.sort().join('&');
}

/** All but letters, digits and `-._~`. */
function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    mark => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function sha256(body: Uint8Array | string): string {
  return createHash('sha256').update(body).digest('hex');
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
