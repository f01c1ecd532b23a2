import { statSync } from 'node:fs';
import {
  BRANCH_REQUEST_MS,
  type BranchAnswer,
  type BranchRequest,
  branchRequestKey,
  findDatabaseFile,
  hadDatabase,
  isHibernated,
  isKnownDatabase,
  noteHibernated,
  noteKnownDatabase,
  readHibernated,
  realDatabasePath,
  TENANT_ID_PATTERN,
  tenantFile,
  toWireError,
} from '@onewriter/protocol';
import type { FromReplicator, StoredBranch, ToReplicator } from '@onewriter/replicator';
import type { Config, Logger } from '@onewriter/runtime';
import type { RedisLink } from '../queue/redis-link.ts';

/*
 * Branches that callers ask for (shared/protocol/src/branch-request.ts). The entry in the store is what makes one; then a note says
 * that its file lies there. A leader that ended between the two left an entry without a note: the next one writes it.
 */

type Based = Extract<FromReplicator, { kind: 'based' }>;

/** Dependencies of {@link BranchRequests}. */
export interface BranchRequestsOptions {
  readonly link: RedisLink;
  readonly config: Pick<Config, 'dataDir' | 'dbFile' | 'group'>;
  /** Undefined: there is no store. */
  readonly shipping:
    | {
        readonly available: boolean;
        readonly note: (message: Extract<ToReplicator, { kind: 'base' }>) => void;
      }
    | undefined;
  readonly log: Logger;
}

/** Makes branches for callers, each by one entry in the store. */
export class BranchRequests {
  readonly #options: BranchRequestsOptions;
  /** By the new tenant: what the replicator was asked and has not answered. */
  readonly #asked = new Map<string, BranchRequest>();
  /** Those that the store had when the replicator started: their callers may still wait. By the id of the request. */
  readonly #found = new Map<string, StoredBranch>();

  constructor(options: BranchRequestsOptions) {
    this.#options = options;
  }

  async onNotified(tenant: string): Promise<void> {
    const { link, config, shipping } = this.#options;
    const key = branchRequestKey(config.group, tenant);
    const text = (await link.retryUntilDone(() => link.call('GET', key))) as string | null;
    const request = readRequest(text);
    if (request === undefined || request.answer !== undefined) return;
    if (this.#asked.get(tenant)?.id === request.id) return;
    const found = this.#found.get(request.id);
    if (found !== undefined)
      return this.#answer(tenant, request, { kind: 'done', at: found.at, bytes: found.bytes });
    const refuse = (reason: string) => this.#answer(tenant, request, { kind: 'refused', reason });
    if (shipping?.available !== true) return refuse('the replica is not available');
    if (this.#isThere(tenant)) return refuse('there is a file already');
    this.#asked.set(tenant, request);
    const { from, at } = request;
    shipping.note({ kind: 'base', tenant, from, at, bytes: this.#sizeOf(from), request: request.id });
  }

  /** The replicator's answer. */
  async onBased(message: Based): Promise<void> {
    const { tenant } = message;
    const request = this.#asked.get(tenant);
    this.#asked.delete(tenant);
    let answer: BranchAnswer;
    if (message.at === undefined) answer = { kind: 'refused', reason: message.refused };
    else {
      const { at, bytes } = message;
      try {
        this.#note({ tenant, at, bytes }, request?.who ?? 'the broker');
        answer = { kind: 'done', at, bytes };
      } catch (error) {
        this.#options.log.error(
          { tenant, err: error },
          'A branch is stored, and its note could not be written',
        );
        answer = { kind: 'failed', error: toWireError(error) };
      }
    }
    if (request !== undefined) await this.#answer(tenant, request, answer);
  }

  /** The replicator started. @throws Error of the file system */
  onStarted(branches: readonly StoredBranch[]): void {
    // Those that the former one did not answer are in the store, or never will be.
    this.#asked.clear();
    this.#found.clear();
    const { dataDir } = this.#options.config;
    for (const branch of branches) {
      const { tenant } = branch;
      // One that was deleted while no broker led, and one whose file was moved away by a person.
      if (hadDatabase(dataDir, tenant) || isKnownDatabase(dataDir, tenant)) continue;
      this.#note(branch, 'the broker');
    }
    for (const branch of branches) if (branch.request !== undefined) this.#found.set(branch.request, branch);
  }

  #note({ tenant, at: { commitSeq }, bytes }: Omit<StoredBranch, 'request'>, who: string): void {
    const { dataDir } = this.#options.config;
    // A file that came meanwhile is the tenant.
    if (this.#isThere(tenant)) return;
    noteHibernated(dataDir, tenant, { commitSeq, bytes, since: new Date().toISOString(), who });
    noteKnownDatabase(dataDir, tenant);
  }

  #isThere(tenant: string): boolean {
    const { dataDir, dbFile } = this.#options.config;
    return (
      findDatabaseFile(tenantFile(dataDir, tenant, dbFile)) !== undefined || isHibernated(dataDir, tenant)
    );
  }

  /** For people, and for the room on the disk. */
  #sizeOf(tenant: string): number {
    const { dataDir, dbFile } = this.#options.config;
    const stats = statSync(realDatabasePath(tenantFile(dataDir, tenant, dbFile)), { throwIfNoEntry: false });
    return stats?.size ?? readHibernated(dataDir, tenant)?.bytes ?? 0;
  }

  async #answer(tenant: string, request: BranchRequest, answer: BranchAnswer): Promise<void> {
    const { link, config, log } = this.#options;
    log.info({ tenant, from: request.from, answer: answer.kind }, 'Branch');
    const text = JSON.stringify({ ...request, answer } satisfies BranchRequest);
    // Not where the caller no longer waits.
    const key = branchRequestKey(config.group, tenant);
    await link.retryUntilDone(() => link.call('SET', key, text, 'PX', BRANCH_REQUEST_MS, 'XX'));
  }
}

/** Undefined where there is none, or it was not written by `askBranch`. */
function readRequest(text: string | null): BranchRequest | undefined {
  try {
    const request = JSON.parse(text ?? 'null') as BranchRequest | null;
    return request !== null && TENANT_ID_PATTERN.test(request.from) ? request : undefined;
  } catch {
    return undefined;
  }
}
