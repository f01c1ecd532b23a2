import { expect, it } from 'vitest';
import { BatchedJobStates } from './batched-job-states.ts';
import type { JobAddress, JobState } from './job-states.ts';

const job = (number: number): JobAddress => ({ tenant: 'acme', id: `j${number}` });

/** States that count the round trips, and how many are under way at the same time. */
function createStates(answer: () => Promise<JobState | undefined>) {
  const rounds: number[] = [];
  const most = { underWay: 0 };
  let underWay = 0;
  const states = {
    async look(jobs: readonly JobAddress[]) {
      rounds.push(jobs.length);
      most.underWay = Math.max(most.underWay, ++underWay);
      const state = await answer();
      underWay--;
      return jobs.map(({ id }) => (id === 'j7' ? 'finished' : state));
    },
    answer: async () => undefined,
  };
  return { states, rounds, most };
}

it('asks about many jobs in a few round trips, one at a time, and gives each its own state', async () => {
  const { states, rounds, most } = createStates(async () => {
    await new Promise(resolve => setTimeout(resolve, 1));
    return 'queued';
  });
  const batched = new BatchedJobStates(states);
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, number) => batched.look([job(number)], false)),
  );
  expect(answers.map(([state]) => state).filter(state => state === 'queued')).toHaveLength(299);
  expect(answers[7]).toEqual(['finished']);
  expect(rounds).toEqual([64, 64, 64, 64, 44]);
  expect(most.underWay).toBe(1);
  expect(await batched.look([job(1)], false)).toEqual(['queued']);
});

it('is bounded while Redis does not answer', async () => {
  let end = (_: undefined) => {};
  const never = new Promise<undefined>(resolve => {
    end = resolve;
  });
  const { states } = createStates(() => never);
  const batched = new BatchedJobStates(states, 2);
  const first = [batched.look([job(1)], false), batched.look([job(2)], false)];
  expect(await batched.look([job(3)], false)).toEqual([undefined]);
  end(undefined);
  expect(await Promise.all(first)).toEqual([[undefined], [undefined]]);
});

it('asks once who holds a tenant, for all who ask meanwhile', async () => {
  const asked: string[] = [];
  const states = {
    look: async () => [],
    answer: async () => undefined,
    holders: async (tenants: readonly string[]) => {
      asked.push(...tenants);
      const holder = { name: 'pause', who: '', reason: '', since: null, expiresAt: null };
      return new Map(tenants.map(tenant => [tenant, [holder]]));
    },
  };
  const batched = new BatchedJobStates(states);
  const answers = await Promise.all(['a', 'b', 'a', 'a'].map(tenant => batched.holders([tenant])));
  expect(answers.map(answer => [...answer.values()].flat())).toMatchObject(
    Array.from({ length: 4 }, () => [{ name: 'pause' }]),
  );
  expect(asked).toEqual(['a', 'b']);
  await batched.holders(['a']);
  expect(asked).toEqual(['a', 'b', 'a']);
});
