import { OnewriterError, type WireError } from './onewriter-error.ts';
import { TENANT_ID_PATTERN } from './tenant-id.ts';
import type { WriteJobMessage } from './write-job.ts';

/*
 * A write that was set aside is a job of its own on the group's queue of dead letters (see deadLetterQueue), where it
 * stays until a person sends it again or drops it: no worker listens there.
 */

/** The data of a job on the dead-letter queue: a write that was set aside. */
export interface DeadLetterMessage {
  readonly tenant: string;
  readonly receiptId: string;
  readonly error: WireError;
  /** The SQL text, shortened; of a transaction that of the failing statement. */
  readonly sql: string;
  /** The write as a message of its own, to be sent again; absent where it is malformed. */
  readonly message?: WriteJobMessage | undefined;
}

/** A letter's job id, made of its write's receipt id, so that a redelivery adds the letter once. */
export function deadLetterId(receiptId: string): string {
  return `dl-${receiptId}`;
}

/**
 * Checks a letter's data. Its `message`, which may have come from any producer, is checked when it is sent again.
 * @throws OnewriterError INVALID_ARGUMENT
 */
export function readDeadLetter(data: unknown): DeadLetterMessage {
  const letter = (data ?? {}) as Partial<DeadLetterMessage>;
  if (
    typeof letter.tenant === 'string' &&
    TENANT_ID_PATTERN.test(letter.tenant) &&
    typeof letter.receiptId === 'string' &&
    typeof letter.error?.code === 'string' &&
    typeof letter.error.message === 'string' &&
    typeof letter.sql === 'string'
  ) {
    return letter as DeadLetterMessage;
  }
  throw new OnewriterError('INVALID_ARGUMENT', 'The letter lacks tenant, receiptId, error or sql.');
}
