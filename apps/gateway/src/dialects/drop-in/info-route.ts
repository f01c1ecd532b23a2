import { isOnewriterError, OnewriterError, readOwnTablesLater } from '@onewriter/protocol';
import type { Hono } from 'hono';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { GatewayOptions } from '../../gateway-options.ts';
import type { IntegrityResult } from '../../processes/integrity-check.ts';
import type { TenantReads } from '../../reads/tenant-reads.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { ownerOf } from '../../security/shares.ts';

/** SQLite's own numbers for the writer's setting, as existing proxies answer them. */
const SYNCHRONOUS: Readonly<Record<string, number>> = { OFF: 0, NORMAL: 1, FULL: 2, EXTRA: 3 };

const UNCHECKED: IntegrityResult = { integrity: 'unchecked', unchecked: [] };

/** Answer of `GET /info/:tenantId`. */
export interface InfoResponse {
  readonly tenantId: string;
  /** `wal`, once the writer has opened the file. */
  readonly journalMode: unknown;
  /** Setting of the writer's connection: 2 is FULL. null: the writer has never opened this file. */
  readonly synchronous: number | null;
  /** `unchecked`; with `?check=full` `ok`, or what is wrong. */
  readonly integrity: string;
  /** Tables that SQLite could not check here, and why; absent where there are none. All else was checked. */
  readonly unchecked?: IntegrityResult['unchecked'] | undefined;
}

/**
 *   GET /info/:tenantId               {tenantId, journalMode, synchronous, integrity: 'unchecked'}
 *   GET /info/:tenantId?check=full    the same after a full check of the file, in a process of its own
 */
export function addInfoRoute(app: Hono<GatewayEnv>, options: GatewayOptions): void {
  app.get('/info/:tenantId', async c => {
    const tenantId = await authorizeTenant(c, options.limits, c.req.param('tenantId'), 'read');
    const check = c.req.query('check');
    if (check !== undefined && check !== 'full') {
      throw new OnewriterError('INVALID_ARGUMENT', 'The only check is "full".');
    }
    const wait = { timeoutMs: options.readTimeoutMs, signal: c.req.raw.signal };
    const statements = [{ sql: 'PRAGMA journal_mode' }];
    const { results } = await options.reads.read({ tenant: tenantId, statements, ...wait });
    const journalMode = results[0]?.rows[0]?.[0];
    const synchronous = await readSynchronous(options.reads, tenantId, wait);
    const { integrity, unchecked } =
      check === 'full'
        ? await options.checkIntegrity(tenantId, {
            owner: ownerOf(c.get('access'), tenantId),
            timeoutMs: options.writeTimeoutMs,
            signal: c.req.raw.signal,
          })
        : UNCHECKED;
    const more = unchecked.length === 0 ? {} : { unchecked };
    return c.json({ tenantId, journalMode, synchronous, integrity, ...more } satisfies InfoResponse);
  });
}

/** `PRAGMA synchronous` is about the connection that asks; the writer notes its own in the file. */
async function readSynchronous(
  reads: TenantReads,
  tenant: string,
  wait: { timeoutMs: number; signal: AbortSignal },
): Promise<number | null> {
  const sql = 'SELECT synchronous FROM sqlite_onewriter_state';
  try {
    const { results } = await readOwnTablesLater(names =>
      reads.read({ tenant, statements: [{ sql: names(sql) }], ...wait }),
    );
    const value = results[0]?.rows[0]?.[0] ?? null;
    return typeof value === 'string' ? (SYNCHRONOUS[value.toUpperCase()] ?? null) : null;
  } catch (error) {
    // A file that was put in place and never written has no such table.
    if (isOnewriterError(error, 'SQL_ERROR')) return null;
    throw error;
  }
}
