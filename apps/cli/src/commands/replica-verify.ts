import { fileSize, formatBytes, timeoutForBytes } from '@onewriter/files';
import { TENANTS_UNIT } from '@onewriter/operations/files';
import { assertTenantId, OnewriterError, toWireError, type WireError } from '@onewriter/protocol';
import {
  openReplica,
  openReplicaReader,
  type ReplicaAccess,
  type VerifyReport,
  verifyTenant,
} from '@onewriter/replicator';
import { EXIT } from '../exit-codes.ts';
import { parseTimeout } from '../jobs/job-options.ts';
import { stopSignal } from '../jobs/stop-signal.ts';
import { asOperation } from '../operations/as-operation.ts';
import { createProgress } from '../progress.ts';
import { replicaAccess } from '../replica/replica-access.ts';
import { findTarget, placeOf } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter replica verify`, as the command line gives them. */
export interface ReplicaVerifyOptions {
  readonly all?: boolean | undefined;
  readonly from?: string | undefined;
  readonly timeout?: string | undefined;
  readonly offline?: boolean | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** A tenant whose replica was restored for a test, or could not be. */
type Verified = VerifyReport | { readonly tenant: string; readonly ok: false; readonly error: WireError };

/** Restores tenants beside their files, checks them in full, and compares. @returns 3 where one is not sound */
export async function verifyReplica(
  tenants: readonly string[],
  options: ReplicaVerifyOptions,
): Promise<number> {
  for (const tenant of tenants) assertTenantId(tenant);
  if ((tenants.length === 0) === !options.all) throw new UsageError('Give tenants, or --all.');
  const givenMs = parseTimeout(options.timeout);
  const target = findTarget(options.dataDir);
  const place = placeOf(target);
  const access = replicaAccess(target.config, options.from);
  const names = options.all ? await listStored(access) : tenants;
  const stopping = stopSignal();
  const progress = createProgress(options.json);
  const limits = {
    timeoutMs: (tenant: string) => givenMs ?? timeoutForBytes(fileSize(place, tenant)),
    memoryBytes: target.config.readMemoryBytes,
  };
  const found: Verified[] = [];
  await asOperation(
    target,
    { kind: 'check', tenants: options.all ? null : names, detail: 'the replica', unit: TENANTS_UNIT },
    {
      ...{ json: options.json, offline: options.offline, signal: stopping },
      summarize: () => ({ result: { tenants: found.length, failed: found.filter(({ ok }) => !ok).length } }),
    },
    async context => {
      const signal = AbortSignal.any([stopping, context.signal]);
      for (const tenant of names) {
        signal.throwIfAborted();
        found.push(await verifyOne(tenant, () => verifyTenant({ place, access, tenant, limits, signal })));
        progress.end();
        if (!options.json) process.stdout.write(describe(found.at(-1)!));
        context.progress(found.length, names.length);
        progress.update(`${found.length} of ${names.length} verified`, found.length / names.length);
      }
    },
  );
  progress.end();
  if (options.json) process.stdout.write(`${JSON.stringify(found)}\n`);
  return found.every(({ ok }) => ok) ? EXIT.ok : EXIT.found;
}

async function listStored(access: ReplicaAccess): Promise<readonly string[]> {
  const { store, keys } = await openReplica(access);
  try {
    const entries = await openReplicaReader(store, keys).tenants();
    return entries
      .filter(({ kind }) => kind !== 'deleted')
      .map(({ tenant }) => tenant)
      .sort();
  } finally {
    await store.close();
  }
}

/** One that fails does not end the work on the others. */
async function verifyOne(tenant: string, verify: () => Promise<VerifyReport>): Promise<Verified> {
  try {
    return await verify();
  } catch (error) {
    if (!(error instanceof OnewriterError) || error.code === 'ABORTED') throw error;
    return { tenant, ok: false, error: toWireError(error) };
  }
}

function describe(verified: Verified): string {
  if ('error' in verified)
    return `error   ${verified.tenant}: ${verified.error.code} ${verified.error.message}\n`;
  const { tenant, ok, problems, commitSeq, sameAsFile, bytes, ms } = verified;
  const same = sameAsFile === true ? ', the same content as its file' : '';
  const took = `${formatBytes(bytes)} in ${(ms / 1_000).toFixed(1)} s`;
  return ok
    ? `ok      ${tenant}: commit ${commitSeq} restored and checked${same} (${took})\n`
    : `error   ${tenant}: commit ${commitSeq}: ${problems.join('; ')}\n`;
}
