import {
  type DeadLetterMessage,
  describeStatement,
  OnewriterError,
  parseWriteJob,
  type WriteJobMessage,
} from '@onewriter/protocol';

/** A job to put on a tenant's queue. */
export interface ResendJob {
  /** What people see in the dashboard. */
  readonly name: string;
  /** JSON of a WriteJobMessage. */
  readonly data: string;
}

/**
 * Makes a job of a letter's write: the same statements, values and idempotency key. It has no
 * waiting caller, even if the first attempt had one: if it fails again, it is set aside again.
 *
 * @param client who sends it; its inbox gets the outcome.
 * @throws OnewriterError INVALID_ARGUMENT, UNSUPPORTED_VERSION for a letter that cannot be sent again.
 */
export function createResendJob(letter: DeadLetterMessage, client: string, nowMs: number): ResendJob {
  const { tenant, receiptId } = letter;
  const write = letter.message === undefined ? undefined : parseWriteJob(JSON.stringify(letter.message));
  const operation = write?.ops[0];
  if (write === undefined || operation === undefined || operation === null) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `The write ${receiptId} cannot be sent again: it is malformed, so the letter holds none. Drop the letter when it is dealt with.`,
      { tenant, receiptId },
    );
  }
  const message: WriteJobMessage = {
    ...write,
    client,
    seq: 1,
    at: nowMs,
    ops: [{ ...operation, d: 1 }],
  };
  return {
    name: `${tenant} · 1 write · ${describeStatement(write.sql[0] ?? '')}`,
    data: JSON.stringify(message),
  };
}
