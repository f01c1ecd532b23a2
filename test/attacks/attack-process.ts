import { once, setMaxListeners } from 'node:events';
import { type AccessLevel, signToken } from '@onewriter/runtime';
import { TEST_TOKEN_SECRET } from '@onewriter/testkit';
import { ATTACKS } from './attacks/index.ts';
import { ask, type Target } from './rig.ts';

/* An attack in a process of its own: the honest clients must not wait for its event loop, nor its work for a CPU. */

/** What this process is started with. */
export interface AttackTask {
  readonly attack: string;
  readonly gatewayUrl: string;
  readonly tenants: readonly string[];
}

const { attack, gatewayUrl, tenants } = JSON.parse(process.argv[2]!) as AttackTask;
const ending = new AbortController();
// Each of thousands of sockets waits for it.
setMaxListeners(0, ending.signal);
process.once('SIGTERM', () => ending.abort());
process.once('disconnect', () => ending.abort());

const tokens = new Map<AccessLevel, Promise<string>>();
function signFor(access: AccessLevel): Promise<string> {
  const token = tokens.get(access) ?? signToken(TEST_TOKEN_SECRET, { tenants: [...tenants], access });
  tokens.set(access, token);
  return token;
}

const target: Target = {
  gatewayUrl,
  port: Number(new URL(gatewayUrl).port),
  tenant: tenants[0]!,
  tenants,
  token: signFor,
  ask: async (path, body, { access = 'write' } = {}) =>
    ask(gatewayUrl, path, await signFor(access), body, ending.signal),
  signal: ending.signal,
};
// The start of this process is not part of the attack.
process.send!('ready');
await once(process, 'message');
await ATTACKS.get(attack)!.run(target);
process.exit(0);
