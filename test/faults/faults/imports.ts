import { setTimeout as pause } from 'node:timers/promises';
import { tenantFile } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { RECOVERY_MS, type Rig } from '../rig.ts';

/** Imports of one tenant at the same time, each with rows and a key of its own. */
const IMPORTS = 6;
const ROWS = 20_000;
/** The import that is broken off; it would take far longer than the round. */
const LEFT = IMPORTS;
const LEFT_ROWS = 5_000_000;
const ROWS_OF_PIECE = 500;
/** From the end of the connection to the end of its import: what it had sent is settled, beside the rows of the others. */
const MAX_END_MS = 5_000;
const TABLE = 'CREATE TABLE imported(source INTEGER NOT NULL, n INTEGER NOT NULL)';
const IMPORT_TIMEOUT_MS = 120_000;
/** Before an import that did not end well is sent again. */
const AGAIN_AFTER_MS = 100;

/** Imports of one tenant overlap, one is broken off, and broker or gateway die meanwhile; each is sent again under its key. */
export const imports: Fault = {
  name: 'imports',
  summary: `kill -9 of broker or gateway during ${IMPORTS} imports of one tenant, of which another was broken off: each row is there once.`,
  rig: { gateway: true, clients: [{ pauseMs: 20 }] },
  rounds: 10,
  roundsPerRig: 5,
  async round({ rig, random, round, say, measure }) {
    const tenant = `imports-${round}`;
    await sendUntilDone(rig, `${tenant}/script`, JSON.stringify({ sql: TABLE }), { json: true });

    // The tenant has no key: a row that is applied twice is there twice.
    const leftKey = `broken-off-${round}`;
    const left = await startBrokenOff(rig, tenant, leftKey);
    const all = Promise.all(
      Array.from({ length: IMPORTS }, (_, source) =>
        sendUntilDone(rig, `${tenant}/import?table=imported`, rowsOf(source, 0, ROWS), {
          key: `import-${source}`,
        }),
      ),
    );
    // Its failure is this round's; it must not end the process while something else is awaited.
    all.catch(() => {});
    try {
      await waitFor(() => countOf(rig, tenant, LEFT).rows > 0, {
        timeoutMs: RECOVERY_MS,
        what: 'rows of the import that is broken off',
      });
      const brokenAt = performance.now();
      left.abort();
      // At once: the gateway logs what is settled, and what was on its way and may still be applied.
      await waitFor(() => rig.gateway!.logs().includes(`"idempotencyKey":"${leftKey}"`), {
        ...{ timeoutMs: MAX_END_MS, what: 'a broken-off import to end', intervalMs: 5 },
      });
      measure('ms until a broken-off import has ended', performance.now() - brokenAt);
    } finally {
      left.abort();
    }
    const line = rig
      .gateway!.logs()
      .split('\n')
      .find(text => text.includes(`"idempotencyKey":"${leftKey}"`))!;
    const { accepted, unknown } = JSON.parse(line) as { accepted: number; unknown: number };

    const victim = random.weighted({ broker: 2, gateway: 2, both: 1 });
    await pause(random.between(0, 600));
    if (victim !== 'gateway') await rig.brokers[0]!.kill();
    if (victim !== 'broker') await rig.gateway!.kill();
    const tries = await all;

    for (let source = 0; source < IMPORTS; source++) {
      const { rows, distinct } = countOf(rig, tenant, source);
      if (rows === ROWS && distinct === ROWS) continue;
      throw new FaultFailure(
        `Import ${source} of ${tenant} has ${rows} rows, ${distinct} different ones, and not ${ROWS}.`,
      );
    }
    const { rows, distinct, last } = countOf(rig, tenant, LEFT);
    // Its rows come in order: what is there is a beginning of what was sent.
    const isWithin = accepted <= rows && rows <= accepted + unknown;
    if (rows !== distinct || rows !== last + 1 || !isWithin) {
      throw new FaultFailure(
        `The broken-off import of ${tenant} has ${rows} rows (${accepted} accepted and ${unknown} unknown when it had ended), ${distinct} different ones, up to ${last}.`,
      );
    }
    await rig.awaitRecovery();
    const again = tries.reduce((sum, count) => sum + count - 1, 0);
    say(`${victim} killed, ${again} imports sent again, ${rows} rows of the broken-off one`);
  },
};

/** Lines of NDJSON. */
function rowsOf(source: number, from: number, to: number): string {
  let text = '';
  for (let n = from; n < to; n++) text += `{"source":${source},"n":${n}}\n`;
  return text;
}

/** An import whose sender will go away. */
async function startBrokenOff(rig: Rig, tenant: string, key: string): Promise<AbortController> {
  const gone = new AbortController();
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent >= LEFT_ROWS) return controller.close();
      controller.enqueue(Buffer.from(rowsOf(LEFT, sent, sent + ROWS_OF_PIECE)));
      sent += ROWS_OF_PIECE;
    },
  });
  const request = { method: 'POST', headers: headersOf(rig, { key }), body, duplex: 'half' };
  await rig.gateway!.waitUntilReady();
  fetch(`${rig.gateway!.url}/v1/tenants/${tenant}/import?table=imported`, {
    ...request,
    signal: gone.signal,
  } as RequestInit)
    .then(response => response.text())
    .catch(() => {}); // it is broken off
  return gone;
}

interface SendOptions {
  readonly key?: string;
  readonly json?: boolean;
}

function headersOf(rig: Rig, { key, json = false }: SendOptions): Record<string, string> {
  return {
    authorization: `Bearer ${rig.token}`,
    'content-type': json ? 'application/json' : 'application/x-ndjson',
    ...(key === undefined ? {} : { 'idempotency-key': key }),
  };
}

/** Sends until the answer says that all was applied. @returns how often it was sent @throws FaultFailure */
async function sendUntilDone(rig: Rig, path: string, body: string, options: SendOptions): Promise<number> {
  const deadline = performance.now() + IMPORT_TIMEOUT_MS;
  for (let tries = 1; ; tries++) {
    const answer = await send(rig, path, body, options);
    if (answer.done) return tries;
    if (performance.now() > deadline) {
      throw new FaultFailure(
        `${path} was not done within ${IMPORT_TIMEOUT_MS / 1_000} s: ${answer.text.slice(-300)}`,
      );
    }
    await pause(AGAIN_AFTER_MS);
  }
}

async function send(
  rig: Rig,
  path: string,
  body: string,
  options: SendOptions,
): Promise<{ readonly done: boolean; readonly text: string }> {
  try {
    const response = await fetch(`${rig.gateway!.url}/v1/tenants/${path}`, {
      ...{ method: 'POST', headers: headersOf(rig, options), body },
      signal: AbortSignal.timeout(IMPORT_TIMEOUT_MS),
    });
    const text = await response.text();
    if (!response.ok) return { done: false, text };
    if (options.json) return { done: true, text };
    const end = JSON.parse(text.trimEnd().split('\n').at(-1)!) as Record<string, unknown>;
    const done = end['event'] === 'done' && end['rejected'] === 0 && end['unknown'] === 0;
    return { done, text };
  } catch (error) {
    // The connection broke with the gateway, or nothing listens; or half a line came.
    return { done: false, text: String((error as Error).cause ?? error) };
  }
}

function countOf(
  rig: Rig,
  tenant: string,
  source: number,
): { readonly rows: number; readonly distinct: number; readonly last: number } {
  const db = new Database(tenantFile(rig.dataDir, tenant), { readonly: true, timeout: 5_000 });
  try {
    return db
      .prepare<[number], { rows: number; distinct: number; last: number }>(
        'SELECT count(*) AS rows, count(DISTINCT n) AS "distinct", ifnull(max(n), -1) AS last FROM imported WHERE source = ?',
      )
      .get(source)!;
  } finally {
    db.close();
  }
}
