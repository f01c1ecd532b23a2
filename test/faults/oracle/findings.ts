/** What the oracle can find. */
export type ViolationKind =
  /** Acknowledged, and not there. */
  | 'lost'
  /** There more than once. */
  | 'doubled'
  /** Reported failed, and there. */
  | 'false-failure'
  /** Acknowledged although it cannot have been committed: it violates a constraint. */
  | 'false-commit'
  /** Some rows of an atomic write are there, and some are not. */
  | 'partial'
  /** Writes of one client to one tenant are not in the order they were issued. */
  | 'reordered'
  /** What a receipt says, or the ledger's entry of it, is not what is in the file. */
  | 'wrong-receipt'
  /** `commitSeq` or `lastInsertRowid` of an answer is not true. */
  | 'wrong-answer'
  /** A commit_seq is missing in the ledger, or one too many is there. */
  | 'hole'
  /** A row is in another tenant's file. */
  | 'foreign-row'
  /** A row that no client wrote. */
  | 'unknown-row'
  /** Balances are not what the transfers in the log make of them. */
  | 'balance'
  /** A register is not what the log makes of it. */
  | 'register'
  /** A read did not see a write that had been reported committed. */
  | 'stale-read'
  /** A caller was not answered, or after its deadline. */
  | 'unsettled'
  /** A write that the queue had accepted has vanished. */
  | 'accepted-lost'
  /** A caller got a code that this fault does not excuse. */
  | 'wrong-code'
  /** PRAGMA integrity_check or foreign_key_check complains, or the file cannot be read. */
  | 'damaged'
  /** Nothing was committed: the run shows nothing. */
  | 'no-progress';

/** One thing that is wrong, with what is needed to look for its cause. */
export interface Violation {
  readonly kind: ViolationKind;
  readonly tenant?: string | undefined;
  readonly client?: string | undefined;
  readonly n?: number | undefined;
  readonly message: string;
}

/** Enough to see what is wrong; a broken run has thousands. */
const MAX_VIOLATIONS = 500;

type Where = Pick<Violation, 'tenant' | 'client' | 'n'>;

/** What is found, as far as it is worth reading. */
export class Findings {
  readonly all: Violation[] = [];

  add(kind: ViolationKind, message: string, where: Where = {}): void {
    if (this.all.length < MAX_VIOLATIONS) {
      const { tenant, client, n } = where;
      this.all.push({ kind, tenant, client, n, message });
    }
  }
}
