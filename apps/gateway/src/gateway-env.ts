import type { HttpBindings } from '@hono/node-server';
import type { VerifiedToken } from '@onewriter/runtime';
import type { LargeBody } from './bodies/large-body.ts';

/** What the gateway's handlers find in their context. */
export interface GatewayEnv {
  /** Absent where the app is called without a server. */
  readonly Bindings: Partial<HttpBindings>;
  readonly Variables: {
    requestId: string;
    /** When its head was there, on the clock of performance.now(): its deadline counts from then. */
    receivedAt: number;
    /** What the request's token allows; set by `authenticate`. */
    access: VerifiedToken;
    /** The token itself, so that long answers can see whether it has ended. */
    token: string;
    /** Before a result of a read becomes an answer. @throws OnewriterError RATE_LIMITED */
    assertAnswerRoom: () => void;
    /** How a body is read that is not small. */
    body: LargeBody | undefined;
    /** Resolves when this request may keep the event loop busy: before each piece of a large body or answer. Set by `acceptJsonBody`. */
    nextTurn: () => Promise<void>;
    /** Of an answer that leaves in pieces: bytes that have not left. */
    heldBytes: (() => number) | undefined;
  };
}
