import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { answerS3, failure, kindOf, type S3Answer } from './answer-s3.ts';
import { checkSignature, type S3Credentials } from './check-signature.ts';
import { type S3Fate, S3FaultPlan, type S3Faults, type S3Kind } from './s3-faults.ts';
import type { S3Objects } from './s3-objects.ts';

/** Requests that came, also those that failed or were repeated. */
export type S3Counts = Readonly<Record<S3Kind, number>>;

export interface S3ServerOptions {
  readonly bucket: string;
  readonly credentials: S3Credentials;
  readonly objects: S3Objects;
}

export interface S3Server {
  readonly server: Server;
  readonly setFaults: (faults: S3Faults) => void;
  readonly counts: () => S3Counts;
}

/** Faults and counts from other processes: a bucket cannot have this name. */
export const CONTROL_PATH = '/-/';

/** A server for one bucket; the caller listens. */
export function createS3Server({ bucket, credentials, objects }: S3ServerOptions): S3Server {
  const plan = new S3FaultPlan();
  const counts = { get: 0, put: 0, delete: 0, list: 0 };
  const control = (path: string, body: Buffer): object => {
    if (path === 'faults') plan.set(JSON.parse(body.toString()) as S3Faults);
    return path === 'keys' ? objects.keys() : counts;
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await readBody(request);
    const url = new URL(request.url ?? '/', 'http://s3');
    if (url.pathname.startsWith(CONTROL_PATH)) {
      const answer = control(url.pathname.slice(CONTROL_PATH.length), body);
      return void response.end(JSON.stringify(answer));
    }
    const key = decodeURIComponent(url.pathname.slice(bucket.length + 2));
    const method = request.method ?? '';
    const kind = kindOf({ method, key, query: url.searchParams });
    if (kind !== undefined) counts[kind]++;
    const fate = plan.fateOf(kind ?? 'get', key);
    if (fate.latencyMs > 0) await pause(fate.latencyMs);
    if (fate.refuse === 'hang') return;
    // A request that was read whole does not end its connection.
    if (fate.refuse === 'cut') return void request.socket.destroy();
    if (fate.refuse !== undefined) return reply(response, failure(fate.refuse, 'Fault'), fate, method);
    const denied = checkSignature(request, url, body, credentials);
    if (denied !== undefined) return reply(response, failure(403, denied), fate, method);
    if (!`${url.pathname}/`.startsWith(`/${bucket}/`)) {
      return reply(response, failure(404, 'NoSuchBucket'), fate, method);
    }
    const { headers } = request;
    const { ignoresConditions } = fate;
    const call = { method, key, query: url.searchParams, headers, body, ignoresConditions };
    return reply(response, answerS3(objects, call), fate, method);
  };

  const server = createServer((request, response) => {
    // A connection that its client ended is no fault of the server; anything else ends the test.
    serve(request, response).catch(error => {
      if (!request.destroyed) throw error;
    });
  });
  return { server, setFaults: faults => plan.set(faults), counts: () => ({ ...counts }) };
}

async function reply(
  response: ServerResponse,
  { status, headers, body = Buffer.alloc(0) }: S3Answer,
  { reply: how, bytesPerSecond }: S3Fate,
  method: string,
): Promise<void> {
  if (how === 'none') return void response.destroy();
  response.writeHead(status, { ...headers, ...(status === 204 ? {} : { 'content-length': body.length }) });
  if (method === 'HEAD' || status === 204) return void response.end();
  if (how === 'truncated') {
    const half = body.subarray(0, Math.floor(body.length / 2));
    return void response.write(half, () => response.destroy());
  }
  if (bytesPerSecond !== undefined) await trickle(response, body, bytesPerSecond);
  else response.end(body);
}

/** Sends ten times in a second, until the client has all or ends. */
async function trickle(response: ServerResponse, body: Buffer, bytesPerSecond: number): Promise<void> {
  const size = Math.max(1, Math.ceil(bytesPerSecond / 10));
  for (let at = 0; at < body.length && !response.destroyed; at += size) {
    response.write(body.subarray(at, at + size));
    await pause(100);
  }
  response.end();
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
