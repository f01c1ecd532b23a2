import { randomBytes } from 'node:crypto';
import type { Onewriter } from '@onewriter/sdk';
import type { ReadSteps } from '../../reads/read-steps.ts';
import { BatonSigner } from './baton.ts';
import type { Hrana } from './hrana.ts';
import { type ReadNow, StreamRunner } from './stream-runner.ts';
import { StreamRegistry } from './streams.ts';

/** Settings of {@link createHrana}. */
export interface HranaOptions {
  readonly onewriter: Pick<Onewriter, 'tenant'>;
  readonly reads: ReadSteps;
  readonly readNow: ReadNow;
  readonly assertNotPaused: (tenant: string, timeoutMs: number) => Promise<void>;
  /** Batons of a gateway are good at others with the same; without it, at this process. */
  readonly secret: string | undefined;
  readonly createTenants: boolean;
  readonly hostDomain: string | undefined;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  /** A transaction that only reads is released after this long without a request. */
  readonly idleMs: number;
  /** It is also released at this age. */
  readonly maxSnapshotMs: number;
}

/** What the routes of the libSQL protocol need. */
export function createHrana(options: HranaOptions): Hrana {
  const { onewriter, reads, createTenants, hostDomain, readTimeoutMs, writeTimeoutMs } = options;
  const runner = new StreamRunner({
    reads,
    readNow: options.readNow,
    writer: { steps: (tenant, request, wait) => onewriter.tenant(tenant).steps(request, wait) },
    assertNotPaused: options.assertNotPaused,
    createTenants,
    readTimeoutMs,
    writeTimeoutMs,
    maxSnapshotMs: options.maxSnapshotMs,
  });
  const streams = new StreamRegistry({
    signer: new BatonSigner(options.secret ?? randomBytes(32).toString('base64url')),
    readIdleMs: options.idleMs,
    onEnd: stream => runner.end(stream),
    onSnapshotExpired: stream => runner.expireSnapshot(stream),
  });
  return { streams, runner, reads, createTenants, hostDomain };
}
