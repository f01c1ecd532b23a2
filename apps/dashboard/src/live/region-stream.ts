import { OnewriterError } from '@onewriter/protocol';
import { watchAccess } from '@onewriter/runtime';
import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { DashboardEnv } from '../dashboard-env.ts';
import { toText } from '../views/html.ts';
import type { Regions } from '../views/regions.ts';

/** Gives the pieces of a page whenever they may have changed, until the signal fires. */
export type RegionSource = (signal: AbortSignal) => AsyncIterable<Regions>;

/** People who look at the same time; each costs some kilobytes a second. */
const MAX_STREAMS = 200;
/** The browser reconnects, which prolongs its session. */
const MAX_LIFE_MS = 15 * 60_000;
/** Sent where nothing changed, so that the page knows that it is live. */
const QUIET_AFTER_MS = 2_500;
const RETRY_MS = 1_000;

/** Server-sent events: pieces of a page that changed, by their ids, as HTML. */
export class RegionStreams {
  readonly #closing = new AbortController();
  #open = 0;

  /**
   * Answers with the pieces that `source` gives: at first all, then those that changed.
   * @throws OnewriterError RATE_LIMITED
   */
  answer(c: Context<DashboardEnv>, source: RegionSource): Response {
    if (this.#open >= MAX_STREAMS) {
      const message = `${MAX_STREAMS} pages are open already; reload instead.`;
      throw new OnewriterError('RATE_LIMITED', message, { retryAfterMs: 5_000 });
    }
    this.#open++;
    c.header('x-accel-buffering', 'no');
    return streamSSE(c, async stream => {
      const gone = new AbortController();
      stream.onAbort(() => gone.abort());
      const unwatch = watchAccess(c.get('operator').check, () => gone.abort());
      const signal = AbortSignal.any([gone.signal, this.#closing.signal, AbortSignal.timeout(MAX_LIFE_MS)]);
      try {
        await stream.write(`retry: ${RETRY_MS}\n\n`);
        const sent = new Map<string, string>();
        let sentAt = 0;
        for await (const regions of source(signal)) {
          const changed: Record<string, string> = {};
          for (const [id, piece] of Object.entries(regions)) {
            const text = toText(piece);
            if (sent.get(id) === text) continue;
            sent.set(id, text);
            changed[id] = text;
          }
          const now = performance.now();
          if (Object.keys(changed).length > 0) {
            await stream.writeSSE({ event: 'regions', data: JSON.stringify(changed) });
            sentAt = now;
          } else if (now - sentAt > QUIET_AFTER_MS) {
            await stream.writeSSE({ event: 'quiet', data: '' });
            sentAt = now;
          }
        }
      } finally {
        unwatch();
        this.#open--;
      }
    });
  }

  /** Ends all streams; their pages reconnect to the next server that answers. Idempotent. */
  close(): void {
    this.#closing.abort();
  }
}
