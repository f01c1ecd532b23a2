import { MessageChannel } from 'node:worker_threads';
import { waitFor } from '@onewriter/testkit';
import { expect, onTestFinished, test } from 'vitest';
import { at, framesOf, piece } from '../../test-support/log-world.ts';
import { CapturePorts } from './capture-ports.ts';

test('takes what a former thread sent before the first piece of the next one', async () => {
  const taken: number[] = [];
  const ports: CapturePorts = new CapturePorts(
    message => ports.inOrder(message),
    // The first message that comes does not continue from what is known.
    () => taken.length > 0,
    message => taken.push(message.kind === 'log' ? message.from.frame : -1),
  );
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
