/*
 * An honest caller that uses now and then what an attack may take all of: streams of events, imports, exports, full checks, libSQL
 * transactions. Without it these attacks would harm no request that is measured.
 */

/** How long it may be refused before that is an error: no other honest caller uses these pools. */
const REFUSED_MS = 300;
const RETRY_MS = 50;
/** Between two uses. */
const PAUSE_MS = 100;
const REQUEST_TIMEOUT_MS = 15_000;
const RATE_LIMITED = 429;

/** Where it asks, and for whom. */
export interface PoolUserOptions {
  readonly gatewayUrl: string;
  readonly tenant: string;
  /** May write. */
  readonly token: string;
  /** Fires when it is to end. */
  readonly signal: AbortSignal;
  /** A use failed, or was refused for too long. */
  readonly onError: (what: string) => void;
}

type Send = (path: string, init?: RequestInit) => Promise<Response>;

/** One use of each pool. @returns the status of the answer that decides */
const USES: Readonly<Record<string, (send: Send, tenant: string) => Promise<number>>> = {
  async events(send, tenant) {
    const response = await send(`/v1/tenants/${tenant}/events`);
    await response.body?.cancel();
    return response.status;
  },
  async import(send, tenant) {
    const headers = { 'content-type': 'application/x-ndjson' };
    const init = { method: 'POST', headers, body: '{"v":1}\n' };
    return take(await send(`/v1/tenants/${tenant}/import?table=t`, init));
  },
  async export(send, tenant) {
    return take(await send(`/v1/tenants/${tenant}/export`));
  },
  async check(send, tenant) {
    return take(await send(`/info/${tenant}?check=full`));
  },
  async transaction(send, tenant) {
    const pipeline = (body: object) =>
      send(`/t/${tenant}/v3/pipeline`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    const execute = (sql: string) => ({ type: 'execute', stmt: { sql } });
    const begun = await pipeline({ requests: [execute('BEGIN'), execute('SELECT count(*) FROM t')] });
    if (begun.status !== 200) return take(begun);
    const { baton, results } = (await begun.json()) as { baton: string; results: { type: string }[] };
    if (results.some(({ type }) => type !== 'ok')) throw new Error(JSON.stringify(results));
    return take(await pipeline({ baton, requests: [execute('COMMIT'), { type: 'close' }] }));
  },
};

/** Uses one pool after the other until the signal fires. */
export async function usePools({
  gatewayUrl,
  tenant,
  token,
  signal,
  onError,
}: PoolUserOptions): Promise<void> {
  const send: Send = (path, init) =>
    fetch(gatewayUrl + path, {
      ...init,
      headers: { authorization: `Bearer ${token}`, ...init?.headers },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  while (!signal.aborted) {
    for (const [name, use] of Object.entries(USES)) {
      const begunAt = performance.now();
      let status: number | string = RATE_LIMITED;
      while (!signal.aborted) {
        status = await use(send, tenant).catch((error: Error) => `${error.name} ${error.message}`);
        if (status !== RATE_LIMITED || performance.now() - begunAt > REFUSED_MS) break;
        await pause(RETRY_MS);
      }
      const isRefused = status === RATE_LIMITED && performance.now() - begunAt <= REFUSED_MS;
      if (status !== 200 && !isRefused) onError(`${name}: ${status}`);
      await pause(PAUSE_MS);
    }
  }
}

/** Reads all of an answer. @returns its status */
async function take(response: Response): Promise<number> {
  await response.arrayBuffer();
  return response.status;
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}
