import { isOnewriterError } from '@onewriter/protocol';
import type { Onewriter } from '@onewriter/sdk';
import type { ReadSteps, ReadStepsRequest, StepPiece } from './read-steps.ts';
import type { ReadAnswer, ReadRequest, ReadStream, TenantReads } from './tenant-reads.ts';

/** What of a request a wait for a hibernated tenant needs. */
type Waiting = Pick<ReadRequest, 'tenant' | 'timeoutMs' | 'signal'>;

/** Brings hibernated tenants back before they are read: any read of a client does. */
export class WakingReads implements TenantReads {
  readonly #reads: TenantReads;
  readonly #onewriter: Pick<Onewriter, 'tenant'>;

  constructor(reads: TenantReads, onewriter: Pick<Onewriter, 'tenant'>) {
    this.#reads = reads;
    this.#onewriter = onewriter;
  }

  get openFiles(): number {
    return this.#reads.openFiles;
  }

  read(request: ReadRequest): Promise<ReadAnswer> {
    return awake(this.#onewriter, request, () => this.#reads.read(request));
  }

  stream(request: ReadRequest): Promise<ReadStream> {
    return awake(this.#onewriter, request, () => this.#reads.stream(request));
  }

  forget(tenant: string): void {
    this.#reads.forget(tenant);
  }
}

/** The same for steps. */
export function wakingSteps(steps: ReadSteps, onewriter: Pick<Onewriter, 'tenant'>): ReadSteps {
  return {
    run: request => awake(onewriter, request, () => steps.run(request)),
    stream: request => streamAwake(steps, onewriter, request),
    release: name => steps.release(name),
  };
}

async function* streamAwake(
  steps: ReadSteps,
  onewriter: Pick<Onewriter, 'tenant'>,
  request: ReadStepsRequest,
): AsyncGenerator<StepPiece, void, undefined> {
  const begin = async () => {
    const pieces = steps.stream(request);
    return { pieces, first: await pieces.next() };
  };
  const { pieces, first } = await awake(onewriter, request, begin);
  if (first.done) return;
  try {
    yield first.value;
    yield* pieces;
  } finally {
    // One who leaves with the first piece ends the read, too.
    await pieces.return();
  }
}

async function awake<T>(
  onewriter: Pick<Onewriter, 'tenant'>,
  { tenant, timeoutMs, signal }: Waiting,
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!isOnewriterError(error, 'TENANT_WAKING')) throw error;
    await onewriter.tenant(tenant).prepare('SELECT 1', { timeoutMs, signal }).get();
    return read();
  }
}
