import type { Way } from './journal.ts';
import { type Mix, USUAL_MIX } from './operation.ts';

/** What a client process is started with, as JSON in its first argument. */
export interface ClientSettings {
  /** Name of the client and its journal; a client that is started again gets another. */
  readonly client: string;
  readonly journal: string;
  readonly seed: number;
  readonly via: Way;
  readonly tenants: readonly string[];
  readonly redisUrl: string;
  readonly dataDir: string;
  readonly gatewayUrl: string;
  readonly token: string;
  /** Set where the client has nothing but Redis; it then reads after every other write. */
  readonly reads?: 'owner' | undefined;
  readonly mix: Mix;
  /** Writes under way at once. */
  readonly concurrency: number;
  /** Between two writes, on average; 0 is as fast as they can be issued. */
  readonly pauseMs: number;
  /** Shortest and longest deadline of a write. */
  readonly timeoutMs: readonly [min: number, max: number];
}

/** What a client does unless a fault says otherwise. */
export const USUAL_CLIENT = Object.freeze({
  mix: USUAL_MIX,
  concurrency: 48,
  pauseMs: 2,
  timeoutMs: [6_000, 12_000],
} as const);

/** Sent to a client process. */
export type ClientOrder =
  /** Issue nothing more, wait for answers, ask the receipts of what is unknown for up to `askMs`, end. */
  { readonly type: 'finish'; readonly askMs: number };

/** Sent by a client process. */
export type ClientReport =
  | { readonly type: 'ready' }
  /** Now and then. */
  | { readonly type: 'progress'; readonly committed: number; readonly rssBytes: number };
