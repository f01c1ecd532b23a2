import { assertTenantId } from '@onewriter/protocol';
import { eraseHistory, type ReplicaAccess, rewrapKeys } from '@onewriter/replicator';
import { confirmByName } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { stopSignal } from '../jobs/stop-signal.ts';
import { withRedis } from '../open-redis.ts';
import { audited } from '../operator.ts';
import { createProgress } from '../progress.ts';
import { replicaAccesses } from '../replica/replica-access.ts';
import { findTarget } from '../target.ts';

/** Options of `onewriter replica rewrap`, as the command line gives them. */
export interface ReplicaKeysOptions {
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Options of `onewriter replica erase`. */
export interface EraseOptions extends ReplicaKeysOptions {
  readonly confirm?: string | undefined;
  readonly offline?: boolean | undefined;
}

/** Makes the whole history of a deleted tenant unreadable, in all stores. */
export async function eraseReplica(tenant: string, options: EraseOptions): Promise<number> {
  assertTenantId(tenant);
  const target = findTarget(options.dataDir);
  const accesses = replicaAccesses(target.config);
  const what = `makes the whole history of ${tenant} unreadable, in all stores and for ever`;
  await confirmByName(what, tenant, options.confirm);
  const erase = () => eraseHistory(accesses, tenant);
  const erased = options.offline
    ? await erase()
    : await withRedis(target, redis => audited(redis, target.group, 'replica.erase', tenant, erase));
  const stores = erased.stores.join(', ');
  const text = `erased ${tenant}: what was stored with its own key cannot be read any more in ${stores}; anything older expires\n`;
  process.stdout.write(options.json ? `${JSON.stringify(erased)}\n` : text);
  return EXIT.ok;
}

/** Puts the keys of all tenants under the newest master key; it may be stopped, and does the rest when run again. */
export async function rewrapReplica(options: ReplicaKeysOptions): Promise<number> {
  const accesses: readonly ReplicaAccess[] = replicaAccesses(findTarget(options.dataDir).config);
  const stopping = stopSignal();
  const progress = createProgress(options.json);
  try {
    const report = await rewrapKeys(accesses, {
      signal: stopping,
      onProgress: (done, total) =>
        progress.update(`${done} of ${total} keys`, total === 0 ? 1 : done / total),
    });
    progress.end();
    const { rewrapped, present, failed } = report;
    const lines = failed.map(
      ({ tenant, store, error }) => `${tenant} in ${store}: ${error.code} ${error.message}`,
    );
    lines.push(`${rewrapped} keys are under the newest master key now, ${present} were already`);
    if (failed.length > 0) lines.push('Run it again for the rest; keep the former master keys until then.');
    process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : `${lines.join('\n')}\n`);
    return failed.length === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    progress.end();
  }
}
