import { fromWireError, isOnewriterError, OnewriterError, readDataDirIdentity } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { withRedis } from './open-redis.ts';
import { operatorName } from './operator.ts';
import { findTokenSecret, type Target } from './target.ts';

/** Requests to the gateway's own API, with the operator's token. */
export interface GatewayClient {
  readonly url: string;
  /**
   * @param path below `/v1`
   * @returns the answer, where it is 2xx
   * @throws OnewriterError what the gateway answered; MISCONFIGURED where it is not there
   */
  request(path: string, init?: GatewayRequest): Promise<Response>;
  /** The same, its answer parsed. */
  json<T>(path: string, init?: GatewayRequest): Promise<T>;
}

/** What is sent. */
export interface GatewayRequest {
  readonly method?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: string | ReadableStream<Uint8Array> | undefined;
  /** For an answer's beginning; a stream may take longer. Default: 60,000. */
  readonly timeoutMs?: number | undefined;
}

const TIMEOUT_MS = 60_000;

/** @throws OnewriterError MISCONFIGURED where no gateway is known, or no token can be had */
export async function openGateway(target: Target): Promise<GatewayClient> {
  const url = (target.config.gatewayUrl ?? target.run?.gatewayUrl)?.replace(/\/+$/, '');
  if (url === undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `No gateway is known: nothing runs on ${target.dataDir}. Start it, name its folder with --data-dir, or set ` +
        'ONEWRITER_GATEWAY_URL.',
    );
  }
  await assertOwnGateway(target);
  const token = await findToken(target);
  const request = async (path: string, init: GatewayRequest = {}): Promise<Response> => {
    const started = new AbortController();
    const timer = setTimeout(() => started.abort(), init.timeoutMs ?? TIMEOUT_MS);
    let response: Response;
    try {
      response = await fetch(`${url}/v1${path}`, {
        method: init.method ?? 'GET',
        headers: { authorization: `Bearer ${token}`, ...init.headers },
        signal: started.signal,
        ...(init.body === undefined ? {} : { body: init.body, duplex: 'half' }),
      } as RequestInit);
    } catch (cause) {
      throw unreachable(url, cause);
    } finally {
      clearTimeout(timer);
    }
    if (response.ok) return response;
    throw await toError(url, response);
  };
  return {
    url,
    request,
    json: async <T>(path: string, init?: GatewayRequest) => (await request(path, init)).json() as Promise<T>,
  };
}

/**
 * Refuses a gateway from the environment together with another installation's data directory: one of them is a mistake.
 * Checked only where Redis is known and answers; a machine without the data directory has nothing to compare.
 * @throws OnewriterError MISCONFIGURED
 */
async function assertOwnGateway(target: Target): Promise<void> {
  if (target.config.gatewayUrl === undefined || target.redisUrl === undefined) return;
  if (readDataDirIdentity(target.dataDir) === undefined) return;
  await withRedis(target, async () => {}).catch(error => {
    if (isOnewriterError(error) && error.details.reason === 'another data directory') throw error;
  });
}

/** ONEWRITER_TOKEN, or one that is signed with the secret, for some minutes. @throws OnewriterError MISCONFIGURED */
async function findToken(target: Target): Promise<string> {
  const { token, adminToken } = target.config;
  if (token !== undefined) return token;
  const secret = findTokenSecret(target);
  if (secret !== undefined) {
    // For the audit log: who runs this command, as with those that need no gateway.
    const options = { expiresInMs: 60 * 60_000, subject: operatorName() };
    return signToken(secret, { tenants: '*', access: 'admin' }, options);
  }
  if (adminToken !== undefined) return adminToken;
  throw new OnewriterError(
    'MISCONFIGURED',
    `There is no secret in ${target.dataDir} to sign a token with. Set ONEWRITER_TOKEN, or ONEWRITER_TOKEN_SECRET.`,
  );
}

function unreachable(url: string, error: unknown): OnewriterError {
  const { message, cause } = error as Error & { cause?: { code?: string; message?: string } };
  const reason = cause?.code ?? cause?.message ?? message;
  return new OnewriterError(
    'MISCONFIGURED',
    `The gateway at ${url} does not answer (${reason}). Check whether it runs, or set ONEWRITER_GATEWAY_URL.`,
    {},
    error,
  );
}

async function toError(url: string, response: Response): Promise<OnewriterError> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    if (typeof error?.code === 'string') return fromWireError(error);
  } catch {
    // not an answer of the gateway: shown as it is
  }
  return new OnewriterError(
    'INTERNAL',
    `${url} answered ${response.status}, which no gateway does: ${text.slice(0, 200)}`,
  );
}
