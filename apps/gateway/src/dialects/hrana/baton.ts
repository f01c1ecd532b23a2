import { createHmac, timingSafeEqual } from 'node:crypto';

/** What a baton says. */
export interface BatonContent {
  readonly stream: string;
  /** Number of the next request: a baton is good for one. */
  readonly sequence: number;
  /** The stream held nothing when the baton was made: a new one is as good. */
  readonly stateless: boolean;
}

const FORM = /^([nt])([A-Za-z0-9_-]{16})\.(\d{1,15})\.([A-Za-z0-9_-]{43})$/;

/** Makes and checks batons: an HMAC over the content, and whose it is. */
export class BatonSigner {
  readonly #key: string;

  /** @param secret may be shared by several gateways */
  constructor(secret: string) {
    this.#key = createHmac('sha256', secret).update('onewriter hrana baton').digest('base64url');
  }

  /** @param owner tenant and token: a baton is good for no other */
  sign({ stream, sequence, stateless }: BatonContent, owner: string): string {
    const content = `${stateless ? 'n' : 't'}${stream}.${sequence}`;
    return `${content}.${this.#mac(content, owner)}`;
  }

  /** Undefined for one that was not signed with this key, or not for this owner. */
  verify(baton: string, owner: string): BatonContent | undefined {
    const match = FORM.exec(baton);
    if (match === null) return undefined;
    const [, kind, stream, sequence, mac] = match;
    const expected = this.#mac(`${kind}${stream}.${sequence}`, owner);
    if (!timingSafeEqual(Buffer.from(mac!), Buffer.from(expected))) return undefined;
    return { stream: stream!, sequence: Number(sequence), stateless: kind === 'n' };
  }

  #mac(content: string, owner: string): string {
    return createHmac('sha256', this.#key).update(`${content}\0${owner}`).digest('base64url');
  }
}
