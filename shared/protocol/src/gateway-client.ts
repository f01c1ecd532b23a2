import { isErrorCode } from './error-codes.ts';
import { type ErrorDetails, fromWireError, OnewriterError, type WireError } from './onewriter-error.ts';
import { sendStream } from './send-stream.ts';

/*
 * The one way to ask a gateway over HTTP, for the SDK, the command line and the dashboard: a request has a deadline, and every
 * failure is an OnewriterError, whether the gateway reports it, something in between does, or no answer comes.
 */

/** `details.reason` of an error that says that no gateway answers. */
export const GATEWAY_NOT_REACHABLE = 'gateway not reachable';

const RETRY_AFTER_MS = 1_000;
/** Limit for an answer that is an error: a gateway's are small, other servers' pages need not be. */
const MAX_ERROR_BYTES = 64 * 1024;

/** Settings of {@link GatewayClient}. */
export interface GatewayClientOptions {
  /** With or without a slash at the end. */
  readonly url: string;
  readonly token?: string | undefined;
  /** Default: redirects are followed. */
  readonly redirect?: 'follow' | 'error' | undefined;
  /** Says the same in the words of the program that asks, with its remedy. */
  readonly explain?: ((error: OnewriterError) => OnewriterError) | undefined;
}

/** What is sent, and how long its answer may take. */
export interface GatewayRequest {
  /** Default: GET, or POST with `json`. */
  readonly method?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** A body that is sent as JSON. */
  readonly json?: unknown;
  /** Any other body; its type is in `headers`. A stream is read as fast as the gateway takes it, and is cancelled where it is not. */
  readonly body?: string | ReadableStream<Uint8Array> | undefined;
  readonly timeoutMs: number;
  /** `timeoutMs` is for the head of the answer; its body, and that of the request, may take longer. Default: for all. */
  readonly streams?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Named in errors. */
  readonly tenant?: string | undefined;
}

/** One gateway, asked with one token. */
export class GatewayClient {
  readonly url: string;
  readonly #options: GatewayClientOptions;

  constructor(options: GatewayClientOptions) {
    this.url = options.url.replace(/\/+$/, '');
    this.#options = options;
  }

  /**
   * @param path begins with a slash
   * @returns the answer, which is 2xx
   * @throws OnewriterError what the gateway answered; TIMEOUT; ABORTED; TENANT_UNAVAILABLE where no gateway answers;
   * MISCONFIGURED where another server does
   */
  async request(path: string, request: GatewayRequest): Promise<Response> {
    let response: Response;
    try {
      response = await this.#send(path, request);
    } catch (error) {
      throw this.toError(error, request);
    }
    if (response.ok) return response;
    throw this.#explain(await this.#readError(response, request));
  }

  /** The answer's JSON. @throws OnewriterError as {@link request} */
  async json<T>(path: string, request: GatewayRequest): Promise<T> {
    const headers = { accept: 'application/json', ...request.headers };
    const response = await this.request(path, { ...request, headers });
    let text: string;
    try {
      text = await response.text();
    } catch (error) {
      throw this.toError(error, request);
    }
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw this.#explain(this.#otherServer(response.status, request, cause));
    }
  }

  /** The error of a body that broke off while it was read. */
  toError(error: unknown, { signal, tenant }: Pick<GatewayRequest, 'signal' | 'tenant'>): OnewriterError {
    if (error instanceof OnewriterError) return error;
    const details = named(tenant);
    if (signal?.aborted)
      return new OnewriterError('ABORTED', 'The caller waits no longer.', details, signal.reason);
    if (error instanceof Error && error.name === 'TimeoutError') {
      return this.#explain(
        new OnewriterError('TIMEOUT', 'The gateway did not answer in time.', details, error),
      );
    }
    const message = `The gateway at ${this.url} does not answer (${reasonOf(error)}).`;
    const facts = { ...details, reason: GATEWAY_NOT_REACHABLE, retryAfterMs: RETRY_AFTER_MS };
    return this.#explain(new OnewriterError('TENANT_UNAVAILABLE', message, facts, error));
  }

  #explain(error: OnewriterError): OnewriterError {
    return this.#options.explain?.(error) ?? error;
  }

  async #send(path: string, request: GatewayRequest): Promise<Response> {
    const { method, headers, json, body = jsonText(json), timeoutMs, streams = false, signal } = request;
    const { token, redirect = 'follow' } = this.#options;
    const head = new AbortController();
    const deadline = streams ? head.signal : AbortSignal.timeout(timeoutMs);
    const timer = streams
      ? setTimeout(() => head.abort(new DOMException('The head is late.', 'TimeoutError')), timeoutMs)
      : undefined;
    const init = {
      method: method ?? (json === undefined ? 'GET' : 'POST'),
      headers: {
        ...(json === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
      signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]),
    };
    try {
      if (body instanceof ReadableStream) return await sendStream(this.url + path, init, body);
      return await fetch(this.url + path, { ...init, redirect, ...(body === undefined ? {} : { body }) });
    } finally {
      clearTimeout(timer);
    }
  }

  async #readError(response: Response, request: GatewayRequest): Promise<OnewriterError> {
    let text: string;
    try {
      text = await readBounded(response);
    } catch (error) {
      return this.toError(error, request);
    }
    const wire = parseError(text);
    if (wire === undefined) return this.#otherServer(response.status, request);
    const { requestId } = wire;
    const details = { ...named(request.tenant), ...wire.details, ...(requestId && { requestId }) };
    return fromWireError({ ...wire, details });
  }

  /** Something between us and the gateway answered, or the URL is another server's. */
  #otherServer(status: number, { tenant }: GatewayRequest, cause?: unknown): OnewriterError {
    const message = `${this.url} answered with status ${status} and what is not an answer of a gateway.`;
    return status >= 500
      ? new OnewriterError(
          'TENANT_UNAVAILABLE',
          message,
          { ...named(tenant), retryAfterMs: RETRY_AFTER_MS },
          cause,
        )
      : new OnewriterError('MISCONFIGURED', message, named(tenant), cause);
  }
}

function named(tenant: string | undefined): ErrorDetails {
  return tenant === undefined ? {} : { tenant };
}

function jsonText(value: unknown): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value);
}

/** `fetch` puts why into the cause. */
function reasonOf(error: unknown): string {
  const { message, code, cause } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException };
  return cause?.code || cause?.message || code || message;
}

async function readBounded({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += (chunk as Uint8Array).length;
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (bytes > MAX_ERROR_BYTES) break; // ends the body, too
  }
  return text;
}

/** Under /v1 the error is an object, of the drop-in routes a text with its code beside it. */
function parseError(text: string): (WireError & { readonly requestId?: string }) | undefined {
  let body: { error?: Partial<WireError> | string; code?: unknown } | null;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined; // the page of another server
  }
  const error = body?.error;
  if (typeof error === 'string') {
    return typeof body?.code === 'string' && isErrorCode(body.code)
      ? { code: body.code, message: error }
      : undefined;
  }
  return typeof error?.code === 'string' && typeof error.message === 'string'
    ? (error as WireError)
    : undefined;
}
