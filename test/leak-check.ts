import { endAll, liveHandles } from '@onewriter/testkit';
import { afterAll } from 'vitest';

// Registered first, so it runs after the hooks of the test file itself.
afterAll(() => {
  const left = liveHandles();
  endAll();
  if (left.length > 0) throw new Error(`The test file left behind: ${left.join(', ')}`);
});
