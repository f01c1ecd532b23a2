import { isOnewriterError } from '@onewriter/protocol';
import type { Onewriter, StepsAnswer } from '@onewriter/sdk';
import { lost } from './read-refusals.ts';
import type { ReadSteps, ReadStepsAnswer, ReadStepsRequest, StepPiece } from './read-steps.ts';

/** A transaction that only reads, between two requests: what it has seen so far. It keeps no snapshot, and so nothing of the file. */
type Kept =
  | {
      readonly kind: 'owner';
      readonly commitSeq: number | undefined;
      readonly incarnation: string | undefined;
    }
  /** The tenant had no file: a process keeps it. */
  | { readonly kind: 'empty' };

/**
 * Steps of libSQL where only the broker may open files: each request is one read of it, on one state. A transaction over several
 * requests sees one state too, or fails with SNAPSHOT_STALE.
 */
export class OwnerReadSteps implements ReadSteps {
  readonly #onewriter: Pick<Onewriter, 'tenant'>;
  readonly #empty: ReadSteps;
  readonly #timeoutMs: number;
  /** As many as there are streams with a transaction: each ends with a release. */
  readonly #kept = new Map<string, Kept>();

  /**
   * @param empty runs steps of tenants without a file, and opens none
   * @param timeoutMs of a request that says none
   */
  constructor(onewriter: Pick<Onewriter, 'tenant'>, empty: ReadSteps, timeoutMs: number) {
    this.#onewriter = onewriter;
    this.#empty = empty;
    this.#timeoutMs = timeoutMs;
  }

  async run(request: ReadStepsRequest): Promise<ReadStepsAnswer> {
    const { tenant, resume } = request;
    const known = resume === undefined ? undefined : this.#take(resume);
    if (resume !== undefined && known === undefined) throw lost(tenant);
    if (known?.kind === 'empty') return await this.#runOnEmpty(request);
    try {
      return this.#note(request, known, await this.#send(request, known));
    } catch (error) {
      if (known !== undefined || !isEmpty(request, error)) throw error;
      return await this.#runOnEmpty(request);
    }
  }

  /** The result comes whole: the owner bounds it. */
  async *stream(request: ReadStepsRequest): AsyncGenerator<StepPiece, void, undefined> {
    let results: StepsAnswer['results'];
    try {
      ({ results } = await this.#send(request, undefined));
    } catch (error) {
      if (!isEmpty(request, error)) throw error;
      return yield* this.#empty.stream(request);
    }
    for (const [step, result] of results.entries()) {
      switch (result.type) {
        case 'ok':
          yield { type: 'begin', step, columns: result.columns };
          if (result.rows.length > 0) yield { type: 'rows', rows: result.rows };
          yield { type: 'end' };
          break;
        case 'error':
          yield { type: 'error', step, error: result.error };
          break;
        case 'skipped':
          break;
        default:
          result satisfies never;
      }
    }
  }

  release(name: string): void {
    if (this.#take(name)?.kind === 'empty') this.#empty.release(name);
  }

  #take(name: string): Kept | undefined {
    const known = this.#kept.get(name);
    this.#kept.delete(name);
    return known;
  }

  async #send(request: ReadStepsRequest, known: Extract<Kept, { kind: 'owner' }> | undefined) {
    const { tenant, steps, timeoutMs = this.#timeoutMs, signal } = request;
    return await this.#onewriter.tenant(tenant).steps(
      {
        steps,
        readOnly: known === undefined ? 'outside' : 'inside',
        expectCommitSeq: known?.commitSeq,
        // Without a number nothing was read yet, and any file will do.
        expectIncarnation: known?.commitSeq === undefined ? undefined : known.incarnation,
      },
      { timeoutMs, signal },
    );
  }

  #note(request: ReadStepsRequest, known: Kept | undefined, answer: StepsAnswer): ReadStepsAnswer {
    const { results, autocommit } = answer;
    // A transaction that has read nothing more sees what it saw before.
    const { commitSeq, incarnation } =
      answer.commitSeq === undefined && known?.kind === 'owner' ? known : answer;
    if (!autocommit && request.keep !== undefined) {
      this.#kept.set(request.keep, { kind: 'owner', commitSeq, incarnation });
    }
    return { results, autocommit, commitSeq, incarnation, lost: false };
  }

  async #runOnEmpty(request: ReadStepsRequest): Promise<ReadStepsAnswer> {
    const answer = await this.#empty.run(request);
    if (!answer.autocommit && !answer.lost && request.keep !== undefined) {
      this.#kept.set(request.keep, { kind: 'empty' });
    }
    return answer;
  }
}

function isEmpty({ emptyIfMissing }: ReadStepsRequest, error: unknown): boolean {
  return emptyIfMissing && isOnewriterError(error, 'TENANT_NOT_FOUND');
}
