import {
  type DeadLetterMessage,
  deadLetterId,
  parseReceiptId,
  readDeadLetter,
  type WireError,
} from '@onewriter/protocol';

/** A write that was set aside, as the queue keeps it. */
export interface Letter {
  /** The job's id on the dead-letter queue. */
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly setAsideAt: number;
  /** Undefined where the job's data is no letter. */
  readonly content: DeadLetterMessage | undefined;
}

/** One letter, as `onewriter dead-letters list --json` lists it. Null where the letter cannot be read. */
export interface LetterSummary {
  readonly id: string;
  /** Receipt id of the write that was set aside. */
  readonly receiptId: string | null;
  readonly tenant: string | null;
  /** ISO time. */
  readonly setAsideAt: string;
  readonly error: WireError | null;
  /** The SQL text, shortened; of a transaction that of the failing statement. */
  readonly sql: string | null;
  readonly idempotencyKey: string | null;
  /** Whether the write can be sent again; one that was malformed cannot. */
  readonly canRetry: boolean;
}

/** A letter from a job of the queue. */
export function toLetter(id: string, setAsideAt: number, data: unknown): Letter {
  try {
    return { id, setAsideAt, content: readDeadLetter(data) };
  } catch {
    return { id, setAsideAt, content: undefined }; // listed as what it is, and can be dropped
  }
}

/** What people see of a letter. */
export function summarizeLetter({ id, setAsideAt, content }: Letter): LetterSummary {
  return {
    id,
    receiptId: content?.receiptId ?? null,
    tenant: content?.tenant ?? null,
    setAsideAt: new Date(setAsideAt).toISOString(),
    error: content?.error ?? null,
    sql: content?.sql ?? null,
    idempotencyKey: content?.message?.ops[0]?.k ?? null,
    canRetry: content?.message !== undefined,
  };
}

/** The letter that a person names by its own id, or by the receipt id of its write. */
export function toLetterId(id: string): string {
  try {
    parseReceiptId(id);
    return deadLetterId(id);
  } catch {
    return id;
  }
}
