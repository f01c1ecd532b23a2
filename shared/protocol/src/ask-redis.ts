import { OnewriterError } from './onewriter-error.ts';
import { explainReply, isNotNow } from './redis-guard.ts';

const RETRY_AFTER_MS = 1_000;

/** Errors that ioredis makes itself. Source: ioredis, Redis.js, Command.js, redis/event_handler.js. */
const NO_ANSWER =
  /^(Connection is closed|Command timed out|Command aborted|Reached the max retries per request|Stream isn't writeable|Socket timeout|connect )/;

/**
 * Asks Redis something that changes nothing, for callers that wait for the answer: an outage is reported as one.
 * Not for commands that write: without a reply it is unknown whether they ran.
 *
 * @throws OnewriterError QUEUE_UNAVAILABLE where Redis does not answer now, MISCONFIGURED where rights are missing; whatever else `ask` throws, as it is
 */
export async function askRedis<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!isRedisOutage(error)) throw error;
    const explained = explainReply(error);
    if (explained !== undefined) throw explained;
    const message = `Redis does not answer: ${error.message}`;
    throw new OnewriterError('QUEUE_UNAVAILABLE', message, { retryAfterMs: RETRY_AFTER_MS }, error);
  }
}

/** Credentials or rights have changed: an operator of Redis must correct them. */
const REFUSED = /^(NOAUTH|WRONGPASS|NOPERM)\b/;

/** Whether an error of a command says that Redis does not answer now, or refuses this process. */
export function isRedisOutage(error: unknown): error is Error {
  if (!(error instanceof Error) || error instanceof OnewriterError) return false;
  return error.name === 'ReplyError'
    ? isNotNow(error.message) || REFUSED.test(error.message)
    : NO_ANSWER.test(error.message);
}
