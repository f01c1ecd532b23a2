import type { HttpBindings } from '@hono/node-server';
import { OnewriterError } from '@onewriter/protocol';
import type { Networks, VerifiedToken } from '@onewriter/runtime';
import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/** What a request without a token may do; undefined where all need one. @throws OnewriterError UNAUTHENTICATED with the reason */
export type TokenlessAccess = (c: Context<GatewayEnv>) => VerifiedToken | undefined;

/** Headers of a proxy: the peer is not who asks. */
const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'];
/** Headers of a browser: any page that is open in it may have sent the request. */
const OF_A_PAGE = ['origin', 'sec-fetch-site'];

/** Peers of some networks, who need no token. */
export class Tokenless {
  readonly #networks: Networks;
  /** Requests without a token. */
  readonly counts = { admitted: 0, refused: 0 };

  constructor(networks: Networks) {
    this.#networks = networks;
  }

  /** CIDRs; none where every request needs a token. */
  get networks(): readonly string[] {
    return this.#networks.cidrs;
  }

  /**
   * The address of the socket alone decides. A header can only take away: a request that came through a proxy, or from a page in a
   * browser, has a peer that is not who asks.
   */
  readonly access: TokenlessAccess = c => {
    if (this.#networks.cidrs.length === 0) return undefined;
    // Missing where a request is made in a test, without a server.
    const address = (c.env as Partial<HttpBindings> | undefined)?.incoming?.socket.remoteAddress;
    try {
      this.#assertAdmitted(c, address);
    } catch (error) {
      this.counts.refused++;
      throw error;
    }
    this.counts.admitted++;
    return {
      // One for all of them: they share what a token for all tenants may use.
      id: 'tokenless',
      subject: `tokenless ${address}`,
      tenants: '*',
      rights: ['read', 'write'],
      jti: undefined,
      issuedAtMs: undefined,
      expiresAtMs: Number.POSITIVE_INFINITY,
    };
  };

  /** @throws OnewriterError UNAUTHENTICATED */
  #assertAdmitted(c: Context<GatewayEnv>, address: string | undefined): void {
    const has = (name: string) => c.req.header(name) !== undefined;
    if (!this.#networks.has(address)) {
      throw refusal('this address is in no network of ONEWRITER_DROP_IN_TOKENLESS');
    }
    const forwarded = FORWARDED.find(has);
    if (forwarded !== undefined) throw refusal(`the request came through a proxy (header ${forwarded})`);
    const page = OF_A_PAGE.find(has);
    if (page !== undefined) throw refusal(`the request came from a page in a browser (header ${page})`);
  }
}

function refusal(reason: string): OnewriterError {
  return new OnewriterError(
    'UNAUTHENTICATED',
    `A bearer token is required, because ${reason}: send the header "Authorization: Bearer <token>".`,
  );
}
