import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from '@onewriter/testkit';
import { RECOVERY_MS } from './rig.ts';

const RETRY_PAUSE_MS = 20;
const EVENT = /event: (\w+)\nid: (\S+)\ndata: (.*)\n\n/g;

/** Follows a tenant's commits at the gateway, and resumes with the id of its last event whenever the stream ends. */
export class EventFollower {
  readonly #url: string;
  readonly #token: string;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #lastEventId: string | undefined;
  #sinceGap: Set<number> | undefined;

  /** @param lastEventId to begin after; default: with what is committed next. */
  constructor(url: string, token: string, lastEventId?: string) {
    this.#url = url;
    this.#token = token;
    this.#lastEventId = lastEventId;
    this.#running = this.#run();
  }

  /** Numbers of the commits since its last gap event; undefined before one. */
  get sinceGap(): ReadonlySet<number> | undefined {
    return this.#sinceGap;
  }

  /** Forgets the events so far. */
  forget(): void {
    this.#sinceGap = undefined;
  }

  /** Resolves when it follows, with the id of its last event. */
  async untilReady(): Promise<string> {
    return waitFor(() => this.#lastEventId, { timeoutMs: RECOVERY_MS, what: 'a first event', intervalMs: 5 });
  }

  close(): Promise<void> {
    this.#closing.abort();
    return this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#follow(signal);
      } catch {
        // The stream broke, or there is no such tenant just now: it is asked again.
      }
      if (!signal.aborted) await pause(RETRY_PAUSE_MS);
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const response = await fetch(this.#url, {
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(this.#lastEventId === undefined ? {} : { 'last-event-id': this.#lastEventId }),
      },
      signal,
    });
    if (!response.ok) {
      await response.body?.cancel();
      return;
    }
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of response.body!) {
      text += decoder.decode(chunk as Uint8Array, { stream: true });
      let end = 0;
      for (const match of text.matchAll(EVENT)) {
        this.#take(match[1]!, match[2]!, match[3]!);
        end = match.index + match[0].length;
      }
      text = text.slice(end);
    }
  }

  #take(event: string, id: string, json: string): void {
    this.#lastEventId = id;
    if (event === 'gap') this.#sinceGap = new Set();
    if (event === 'commit') this.#sinceGap?.add((JSON.parse(json) as { commitSeq: number }).commitSeq);
  }
}
