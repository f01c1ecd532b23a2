import type { BranchPoint } from '@onewriter/protocol';
import { keepsCommitsMs } from '../compact/retention.ts';
import type { ChainState } from '../format/chain-state.ts';
import type { FromReplicator, StoredBranch, ToReplicator } from './messages.ts';
import type { PackedTenant, StoredTenant } from './ship-state.ts';
import type { TenantLine } from './tenant-line.ts';

type BranchMessage = Extract<ToReplicator, { kind: 'base' }>;

/** A run that lets commits expire, and that did not see the branch, has ended by then. */
const EXPIRY_MS = 3_600_000;

/** Branches that have no segment with pages yet. */
export function branchesIn(tenants: ReadonlyMap<string, ChainState>): readonly StoredBranch[] {
  return [...tenants.values()].flatMap(({ isAlive, last }) => {
    if (!isAlive || last?.kind !== 'base') return [];
    const { tenant, base, lastSeq: commitSeq, epoch, lastMs } = last;
    const { atMs = lastMs, bytes = 0, request } = base!;
    return [{ tenant, at: { tenant: base!.tenant, pos: base!.pos, commitSeq, epoch, atMs }, bytes, request }];
  });
}

/** Dependencies of {@link Branches}. */
export interface BranchesOptions {
  readonly lines: ReadonlyMap<string, Pick<TenantLine, 'state' | 'base'>>;
  readonly stored: ReadonlyMap<string, StoredTenant>;
  readonly retentionMs: number;
  readonly nowMs: () => number;
  readonly post: (message: FromReplicator) => void;
}

/** Tenants that begin as another is, or was: one entry in the next pack, which names a commit that is stored. */
export class Branches {
  readonly #options: BranchesOptions;
  /** Those whose entries are not stored yet. */
  readonly #begun = new Map<string, FromReplicator>();
  /** Expiry waits for branches: more of them could keep it waiting for ever. */
  isHeld = false;

  constructor(options: BranchesOptions) {
    this.#options = options;
  }

  begin(
    line: Pick<TenantLine, 'tenant' | 'mayBegin' | 'begins'>,
    { from, at: given, bytes, request }: BranchMessage,
  ): void {
    const { tenant } = line;
    const at = line.mayBegin ? this.#pointOf(from, given) : 'there is something of its name already';
    if (typeof at === 'string') {
      this.#options.post({ kind: 'based', tenant, refused: at });
      return;
    }
    line.begins({ tenant: at.tenant, pos: at.pos, atMs: at.atMs, bytes, request }, at);
    this.#begun.set(tenant, { kind: 'based', tenant, at, bytes });
  }

  onStored(pack: readonly PackedTenant[]): void {
    for (const { line, items } of pack) {
      if (!items.some(item => item.kind === 'entry' && item.entry.kind === 'base')) continue;
      const answer = this.#begun.get(line.tenant);
      this.#begun.delete(line.tenant);
      if (answer !== undefined) this.#options.post(answer);
    }
  }

  /** @returns why not, where it cannot be */
  #pointOf(from: string, given: BranchPoint | undefined): BranchPoint | string {
    const { lines, stored, retentionMs, nowMs } = this.#options;
    const newest = stored.get(from);
    if (this.isHeld) return 'history expires first';
    if (newest === undefined) return `nothing of ${from} is stored`;
    if (given !== undefined) {
      const sinceMs = nowMs() - keepsCommitsMs(retentionMs) + EXPIRY_MS;
      if (given.atMs < sinceMs) return 'single commits of then expire';
      return given.pos <= (stored.get(given.tenant)?.pos ?? 0) ? given : `${from} is not stored so far`;
    }
    // Of a deleted tenant, and of one that no broker has written to.
    const parent = lines.get(from);
    if (newest.epoch === 0 || parent?.state !== 'chained')
      return `what is stored of ${from} is not what it is now`;
    const { tenant, pos } = parent.base ?? newest;
    const { commitSeq, epoch, commitMs: atMs } = newest;
    return { tenant, pos, commitSeq, epoch, atMs };
  }
}
