import { expect, it } from 'vitest';
import { Successor } from './spare.ts';

it('knows of a successor that is on its way, until it waits', () => {
  const successor = new Successor();
  expect(successor.coming).toBe(false);
  successor.hear({ type: 'successor', waits: false });
  expect(successor.coming).toBe(true);
  successor.hear({ type: 'successor', waits: true });
  expect(successor.coming).toBe(false);
});
