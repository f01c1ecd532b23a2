import { expect, it } from 'vitest';
import { Successor } from './spare.ts';

it('waits for a successor that is on its way, and for no other', async () => {
  const successor = new Successor();
  await successor.untilThere(60_000);
  successor.hear({ type: 'successor', waits: false });
  expect(successor.coming).toBe(true);
  const there = successor.untilThere(60_000);
  successor.hear({ type: 'successor', waits: true });
  await there;
  expect(successor.coming).toBe(false);
  await successor.untilThere(60_000);
});

it('waits for a successor until its time is up', async () => {
  const successor = new Successor();
  successor.hear({ type: 'successor', waits: false });
  const other = successor.untilThere(60_000);
  await successor.untilThere(10);
  // What waited longer does not wait on, and the next does not wait again.
  await other;
  expect(successor.coming).toBe(false);
});
