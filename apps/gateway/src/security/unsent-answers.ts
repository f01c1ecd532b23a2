import type { ServerResponse } from 'node:http';
import { OnewriterError } from '@onewriter/protocol';
import type { Owner } from './shares.ts';

/** Bytes of answers that callers have not read, in all. Each is made whole before it is sent. */
const MAX_BYTES = 256 * 1024 * 1024;
/** Share of one tenant, or of one token bound to tenants. */
const MAX_BYTES_OF_OWNER = MAX_BYTES / 4;
/** A token for all tenants leaves a quarter to others. */
const MAX_BYTES_OF_FLEET = (MAX_BYTES * 3) / 4;
const RETRY_AFTER_MS = 1_000;

/**
 * Bounds the memory of answers whose callers read them slowly: while an owner has this many unread bytes, no request of it begins,
 * and no result of a read becomes an answer. The answer that goes over the bound still passes, whatever its size.
 */
export class UnsentAnswers {
  readonly #open = new Map<ServerResponse, { readonly owner: Owner; readonly heldBytes: () => number }>();

  /**
   * Counts an answer until its connection is done with it.
   * @param heldBytes what it has not given to its connection yet, where it leaves in pieces
   */
  add(owner: Owner, response: ServerResponse, heldBytes: () => number = () => 0): void {
    this.#open.set(response, { owner, heldBytes });
    response.once('close', () => this.#open.delete(response));
  }

  /** @throws OnewriterError RATE_LIMITED */
  assertRoom(owner: Owner): void {
    let all = 0;
    let own = 0;
    for (const [response, { owner: other, heldBytes }] of this.#open) {
      const bytes = response.writableLength + heldBytes();
      all += bytes;
      if (bytes > 0 && other.names.some(name => owner.names.includes(name))) own += bytes;
    }
    if (all <= MAX_BYTES && own <= (owner.isFleet ? MAX_BYTES_OF_FLEET : MAX_BYTES_OF_OWNER)) return;
    const message = 'Too many answers of this tenant or token are unread; read them, or ask for less.';
    throw new OnewriterError('RATE_LIMITED', message, { retryAfterMs: RETRY_AFTER_MS });
  }
}
