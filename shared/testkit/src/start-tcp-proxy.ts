import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { trackHandle } from './live-handles.ts';

/** A TCP proxy in front of a server, for faults of the network. */
export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** Ends all connections at once; new ones are accepted. */
  cut(): void;
  /** From now on, and until `false`: requests pass, answers are lost. */
  muteAnswers(mute: boolean): void;
  /** From now on, and until `false`: nothing passes, without an error. */
  swallow(swallow: boolean): void;
  /** New connections go to another server; those that are open stay where they are. */
  retarget(port: number): void;
  /** Ends everything. Idempotent. */
  stop(): Promise<void>;
}

/** Starts a proxy on a free port of 127.0.0.1 that passes everything on to `targetPort`. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const pairs = new Set<readonly [client: Socket, server: Socket]>();
  let muted = false;
  let swallowing = false;
  let target = targetPort;
  const proxy = createServer(client => {
    const server = connect(target, '127.0.0.1');
    const pair = [client, server] as const;
    pairs.add(pair);
    client.on('data', data => {
      if (!swallowing) server.write(data);
    });
    server.on('data', data => {
      if (!swallowing && !muted) client.write(data);
    });
    for (const socket of pair) {
      socket.on('error', () => {}); // 'close' follows
      socket.on('close', () => {
        pairs.delete(pair);
        client.destroy();
        server.destroy();
      });
    }
  });
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve));
  const { port } = proxy.address() as AddressInfo;
  const cut = () => {
    for (const [client, server] of pairs) {
      client.destroy();
      server.destroy();
    }
  };
  const untrack = trackHandle({ what: `TCP proxy on port ${port}`, endNow: cut });
  const stop = async () => {
    cut();
    await new Promise<void>(resolve => proxy.close(() => resolve()));
    untrack();
  };
  return {
    port,
    cut,
    muteAnswers: mute => {
      muted = mute;
    },
    swallow: swallow => {
      swallowing = swallow;
    },
    retarget: port => {
      target = port;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
