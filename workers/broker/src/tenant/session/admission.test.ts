import { PROTOCOL_VERSION } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { ModelParts } from '../../../test-support/session-model.ts';
import { Admission } from './admission.ts';

const turn = () => new Promise<void>(resolve => setImmediate(resolve));

function createAdmission() {
  const parts = new ModelParts();
  const failed: string[] = [];
  const admission = new Admission(parts, async (jobs, error) => {
    for (const { id } of jobs) failed.push(`${id} ${error.code}`);
    parts.held.remove(new Set(jobs.map(({ id }) => id)));
  });
  return { parts, failed, admission };
}

it('lets writes begin, and steps of a client that is there', async () => {
  const { parts, failed, admission } = createAdmission();
  parts.hold('w-0');
  expect(admission.mustWait(parts.held.next!)).toBe(false);
  parts.held.remove(new Set(['w-0']));
  parts.hold('b-0');
  expect(admission.mustWait(parts.held.next!)).toBe(true);
  await turn();
  // Seen now, it is not looked for again.
  expect(admission.mustWait(parts.held.next!)).toBe(false);
  expect([failed, parts.bugs]).toEqual([[], []]);
});

it('fails steps of a client that is gone, and finds the job as it is after the look', async () => {
  const { parts, failed, admission } = createAdmission();
  parts.gone.add('c-1');
  parts.hold('b-0', 'w-1');
  expect(admission.mustWait(parts.held.next!)).toBe(true);
  await turn();
  expect([failed, parts.held.next?.id]).toEqual([['b-0 TRANSACTION_BUSY'], 'w-1']);
});

it('does not bring back the data of a job that was unloaded during the look', async () => {
  const { parts, admission } = createAdmission();
  parts.hold('b-0');
  admission.mustWait(parts.held.next!);
  parts.held.unload();
  await turn();
  const { next } = parts.held;
  expect([next?.data, next?.memory, typeof next?.clientSeenAt]).toEqual([undefined, undefined, 'number']);
  parts.held.remove(new Set(['b-0']));
  expect(parts.services.memory.used).toBe(0);
});

it('keeps a job of an unknown version in front, and answers the callers behind it once', async () => {
  const { parts, failed, admission } = createAdmission();
  parts.hold('w-0', 'w-1');
  parts.held.update(job => (job.id === 'w-0' ? { ...job, unknownVersion: PROTOCOL_VERSION + 1 } : job));
  const foreign = parts.held.next!;
  expect(admission.mustWait(foreign)).toBe(true);
  await turn();
  expect([failed, parts.held.next?.id, parts.refusals.isParked]).toEqual([
    ['w-1 TENANT_UNAVAILABLE'],
    'w-0',
    true,
  ]);
  parts.hold('w-2');
  admission.mustWait(foreign);
  await turn();
  expect(failed).toEqual(['w-1 TENANT_UNAVAILABLE', 'w-2 TENANT_UNAVAILABLE']);
});
