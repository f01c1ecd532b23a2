import type { BrokerStatus, StatusApart } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { toText } from './html.ts';
import { lanes } from './lanes.ts';

const APART: StatusApart = {
  ...{ running: true, tenant: 'slow', tenantForMs: 3_000, waitingTenants: 2 },
  ...{ restarts: 4, replacements: 5, spentForMs: 60_000 },
};

const draw = (apart: StatusApart | undefined) => {
  const status = { lanes: [], apart, queue: { waitingJobs: 0, heldJobs: 0 }, tenants: { open: 0, known: 0 } };
  return toText(lanes(status as unknown as BrokerStatus)).replaceAll(/<[^>]*>/g, ' ');
};

it('shows the process apart: whether it runs, how often it ended, who waits, whose work it is, and that there are too many', () => {
  expect(draw(APART)).toMatch(
    /apart\s+runs, ended 4 times\s+2\s+slow\s+for 3.* 5 replacements of the broker/,
  );
  const idle = { ...APART, running: false, tenant: null, waitingTenants: 0, restarts: 0, spentForMs: 0 };
  expect(draw(idle)).toMatch(/apart\s+not running\s+0\s+idle/);
  expect(draw(idle)).not.toContain('replacements');
});

it('shows none where an older broker leads', () => {
  expect(draw(undefined)).not.toContain('apart');
});
