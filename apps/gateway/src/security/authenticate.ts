import type { ServerResponse } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import { OnewriterError } from '@onewriter/protocol';
import type { TokenVerifier, VerifiedToken } from '@onewriter/runtime';
import type { Context, MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';
import type { RateLimits } from './rate-limits.ts';
import type { RequestTurns } from './request-turns.ts';
import { type Owner, ownerOf, type Shares } from './shares.ts';
import type { TokenlessAccess } from './tokenless.ts';
import type { UnsentAnswers } from './unsent-answers.ts';

const BEARER = /^Bearer +([A-Za-z0-9._~+/=-]+) *$/i;

/**
 * Lets only requests with a valid bearer token pass, as many as the token's limit and its share of the requests under way allow,
 * and passes on to the handlers what it allows. A request counts until its answer is sent, so slow readers count too. While its owner
 * has too many unread answers, a request is refused before it does anything; the answer of a GET is checked again when it is made,
 * because many can arrive at once. While the loop is busy, owners have turns.
 * @param tokenless asked for requests without the header Authorization
 * @throws OnewriterError UNAUTHENTICATED, RATE_LIMITED, KEYS_UNAVAILABLE
 */
export function authenticate(
  verify: TokenVerifier,
  limits: RateLimits,
  requests: Shares,
  answers: UnsentAnswers,
  turns: RequestTurns,
  tokenless?: TokenlessAccess | undefined,
): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    const { access, token } = await identify(c, verify, tokenless);
    await limits.countToken(access.id);
    c.set('access', access);
    c.set('token', token);
    const owner = ownerOf(access);
    answers.assertRoom(owner);
    const { release } = requests.take(owner);
    c.set('assertAnswerRoom', () => answers.assertRoom(owner));
    // Missing where a request is made in a test, without a server.
    const outgoing = (c.env as Partial<HttpBindings> | undefined)?.outgoing;
    outgoing?.once('close', release);
    try {
      await turns.next(turnOwner(c, owner));
      await next();
      if (c.req.method === 'GET') await dropWithoutRoom(c, () => answers.assertRoom(owner));
    } finally {
      if (outgoing === undefined || isOver(outgoing)) release();
      else answers.add(owner, outgoing as ServerResponse, c.get('heldBytes'));
    }
  };
}

/** Who has a turn. A team's token for all tenants must not make one of them wait for another. */
function turnOwner(c: Context<GatewayEnv>, { names, isFleet }: Owner): string {
  const tenant = isFleet ? c.req.param('tenant') : undefined;
  return tenant === undefined ? names[0]! : `tenant ${tenant}`;
}

/** Who asks. A token that is sent must be valid, wherever it comes from. */
async function identify(
  c: Context<GatewayEnv>,
  verify: TokenVerifier,
  tokenless: TokenlessAccess | undefined,
): Promise<{ readonly access: VerifiedToken; readonly token: string }> {
  const header = c.req.header('authorization');
  if (header === undefined) {
    const access = tokenless?.(c);
    if (access !== undefined) return { access, token: '' };
  }
  const token = BEARER.exec(header ?? '')?.[1];
  if (token === undefined) {
    throw new OnewriterError(
      'UNAUTHENTICATED',
      'A bearer token is required: send the header "Authorization: Bearer <token>".',
    );
  }
  return { access: await verify(token), token };
}

/** Of an answer behind others on a connection that broke Node says nothing. */
function isOver({ closed, req }: HttpBindings['outgoing']): boolean {
  return closed || req.socket.destroyed;
}

/** Drops an answer for which there is no room. @throws what `assertRoom` throws */
async function dropWithoutRoom(c: Context<GatewayEnv>, assertRoom: () => void): Promise<void> {
  try {
    assertRoom();
  } catch (error) {
    await c.res.body?.cancel();
    // Else its headers would stay.
    c.res = undefined;
    c.res = new Response();
    throw error;
  }
}
