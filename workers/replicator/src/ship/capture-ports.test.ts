import { MessageChannel } from 'node:worker_threads';
import { waitFor } from '@onewriter/testkit';
import type { CaptureRequest, SpoolFailure } from '@onewriter/writer';
import { expect, onTestFinished, test } from 'vitest';
import { at, framesOf, piece } from '../../test-support/log-world.ts';
import { CapturePorts } from './capture-ports.ts';

test('takes what a former thread sent before the first piece of the next one', async () => {
  const taken: number[] = [];
  const ports: CapturePorts = new CapturePorts({
    onMessage: message => ports.inOrder(message),
    onSpoolFailed: () => {},
    // The first message that comes does not continue from what is known.
    fits: () => taken.length > 0,
    take: message => taken.push(message.kind === 'log' ? message.from.frame : -1),
  });
  const [former, next] = [new MessageChannel(), new MessageChannel()];
  onTestFinished(() => {
    ports.close();
    for (const { port2 } of [former, next]) port2.close();
  });
  const [one, two] = [3, 4].map(frame =>
    piece({ before: at('s', frame), from: at('s', frame), frames: framesOf('s', frame, frame + 1) }),
  );
  ports.add(next.port1);
  ports.add(former.port1);
  // Sent, and not received yet.
  former.port2.postMessage(one);
  ports.inOrder(two!);
  expect(taken).toEqual([3, 4]);
  let requests = 0;
  for (const { port2 } of [former, next]) port2.on('message', () => requests++);
  ports.request();
  await waitFor(() => requests === 2);
});

test('says to each thread up to where its messages are stored', async () => {
  const failures: string[] = [];
  const taken: bigint[] = [];
  const ports: CapturePorts = new CapturePorts({
    onMessage: ({ order }) => taken.push(order),
    onSpoolFailed: message => failures.push(message),
    fits: () => true,
    take: () => {},
  });
  const channels = [new MessageChannel(), new MessageChannel()];
  const requests = channels.map(({ port1, port2 }) => {
    ports.add(port1);
    const done: bigint[] = [];
    port2.on('message', (request: CaptureRequest) => done.push(request.done));
    return done;
  });
  onTestFinished(() => {
    ports.close();
    for (const { port2 } of channels) port2.close();
  });
  const ask = async () => {
    const count = requests[0]!.length + 1;
    ports.request();
    await waitFor(() => requests.every(done => done.length === count));
    return requests.map(done => done.at(-1));
  };
  const [one, other] = channels;
  for (const order of [1n, 3n, 4n]) one!.port2.postMessage(numbered(order));
  for (const order of [2n, 5n]) other!.port2.postMessage(numbered(order));
  one!.port2.postMessage({ kind: 'spool-failed', message: 'full' } satisfies SpoolFailure);
  await waitFor(() => taken.length === 5 && failures.length === 1);
  expect(failures).toEqual(['full']);
  expect(await ask()).toEqual([0n, 1n]);
  for (const order of [3n, 2n]) ports.settle(order);
  expect(await ask()).toEqual([0n, 4n]);
  ports.settle(1n);
  expect(await ask()).toEqual([3n, 4n]);
  expect(ports.hasOpen).toBe(true);
  for (const order of [4n, 5n]) ports.settle(order);
  expect(await ask()).toEqual([4n, 5n]);
  expect(ports.hasOpen).toBe(false);
});

function numbered(order: bigint) {
  return { ...piece({ before: at('s', 0), from: at('s', 0), frames: framesOf('s', 0, 1) }), order };
}
