import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { trackHandle } from '@onewriter/testkit';

/** What happens to bytes of one direction. */
export type Passage =
  | { readonly kind: 'pass' }
  /** They vanish without an error. */
  | { readonly kind: 'swallow' }
  /** Each piece arrives this much later, in order. */
  | { readonly kind: 'delay'; readonly delayMs: number }
  /** So many bytes at a time, with a pause between. */
  | { readonly kind: 'drip'; readonly bytes: number; readonly pauseMs: number }
  /** The next bytes that come end the connection; `pass` them on first, or not. */
  | { readonly kind: 'cut-at-next'; readonly pass: boolean };

const PASS: Passage = { kind: 'pass' };

/**
 * A TCP proxy in front of Redis, with faults in each direction. Faults hold for all connections, also for new ones, until
 * they are taken back by {@link heal}; `onlyInbox` limits them to connections that wait for events.
 */
export class FaultProxy {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #targetPort: number;
  #untrack: () => void = () => {};
  requests: Passage = PASS;
  answers: Passage = PASS;
  onlyInbox = false;
  /** Whether new connections are refused. */
  refusing = false;

  private constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = createServer(client => this.#accept(client));
  }

  static async start(targetPort: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(targetPort);
    await new Promise<void>(resolve => proxy.#server.listen(0, '127.0.0.1', resolve));
    proxy.#untrack = trackHandle({ what: `fault proxy on port ${proxy.port}`, endNow: () => proxy.cut() });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Ends all connections at once. @returns how many there were. */
  cut(): number {
    const { size } = this.#pairs;
    for (const pair of this.#pairs) pair.end();
    return size;
  }

  /** Everything passes again. What was swallowed is gone: connections on which something is missing are cut. */
  heal(): void {
    const swallowed = this.requests.kind === 'swallow' || this.answers.kind === 'swallow';
    this.requests = PASS;
    this.answers = PASS;
    this.onlyInbox = false;
    this.refusing = false;
    if (swallowed) this.cut();
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    this.cut();
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
    this.#untrack();
  }

  #accept(client: Socket): void {
    if (this.refusing) {
      client.destroy();
      return;
    }
    const server = connect(this.#targetPort, '127.0.0.1');
    const pair = new Pair(client, server);
    this.#pairs.add(pair);
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => {}); // 'close' follows
      socket.on('close', () => {
        this.#pairs.delete(pair);
        pair.end();
      });
    }
    client.on('data', data => {
      if (!pair.inbox && data.includes('xread')) pair.inbox = true;
      pair.requests.carry(data, this.#applies(pair) ? this.requests : PASS);
    });
    server.on('data', data => pair.answers.carry(data, this.#applies(pair) ? this.answers : PASS));
  }

  #applies(pair: Pair): boolean {
    return !this.onlyInbox || pair.inbox;
  }
}

class Pair {
  readonly requests: Direction;
  readonly answers: Direction;
  readonly #sockets: readonly Socket[];
  inbox = false;

  constructor(client: Socket, server: Socket) {
    this.#sockets = [client, server];
    const end = () => this.end();
    this.requests = new Direction(server, end);
    this.answers = new Direction(client, end);
  }

  end(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.requests.stop();
    this.answers.stop();
  }
}

/** Carries bytes of one direction of one connection, in order. */
class Direction {
  readonly #to: Socket;
  readonly #end: () => void;
  #last: Promise<void> | undefined;
  #stopped = false;

  constructor(to: Socket, end: () => void) {
    this.#to = to;
    this.#end = end;
  }

  stop(): void {
    this.#stopped = true;
  }

  carry(data: Buffer, passage: Passage): void {
    switch (passage.kind) {
      case 'swallow':
        return;
      case 'cut-at-next':
        if (passage.pass && this.#last === undefined) this.#to.end(data, this.#end);
        else this.#end();
        return;
      case 'pass':
        // Never ahead of what still drips.
        if (this.#last === undefined) this.#write(data);
        else this.#after(async () => this.#write(data));
        return;
      case 'delay': {
        const dueAt = performance.now() + passage.delayMs;
        this.#after(async () => {
          await wait(dueAt - performance.now());
          this.#write(data);
        });
        return;
      }
      case 'drip':
        this.#after(async () => {
          for (let offset = 0; offset < data.length && !this.#stopped; offset += passage.bytes) {
            this.#write(data.subarray(offset, offset + passage.bytes));
            await wait(passage.pauseMs);
          }
        });
        return;
      default:
        passage satisfies never;
    }
  }

  #write(data: Buffer): void {
    if (!this.#stopped) this.#to.write(data);
  }

  #after(carry: () => Promise<void>): void {
    const next = (this.#last ?? Promise.resolve()).then(carry);
    this.#last = next;
    void next.then(() => {
      if (this.#last === next) this.#last = undefined;
    });
  }
}

function wait(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, Math.max(0, ms)));
}
