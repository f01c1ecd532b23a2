import type { GroupStatus } from '@onewriter/runtime';
import { describe, expect, it } from 'vitest';
import { judge } from './verdict.ts';

const NO_LEADER: GroupStatus = {
  readAt: 1_000,
  status: undefined,
  brokers: [],
  lease: undefined,
  problem: undefined,
};

describe('judge', () => {
  it('says that Redis is away, why, and what to do', () => {
    const { tone, headline, problems } = judge({ at: 0, failure: 'connect ECONNREFUSED' }, []);
    expect([tone, headline]).toEqual(['critical', 'Redis does not answer: nothing can be written']);
    expect(problems[0]).toMatchObject({ text: 'Redis does not answer: connect ECONNREFUSED' });
    expect(problems[0]?.remedy).toContain('redis-cli ping');
  });

  it('says that no broker leads', () => {
    const { tone, headline, problems } = judge({ at: 0, group: NO_LEADER }, []);
    expect([tone, headline]).toEqual(['critical', 'No broker leads: nothing is written']);
    expect(problems[0]?.remedy).toContain('Start a broker');
  });

  it('names a forgotten pause where writes wait, whose it is, and is silent where none do or a program works on the file', () => {
    const by = (who: string, reason: string) => [
      { name: 'pause', who, reason, since: null, expiresAt: null },
    ];
    const restore = {
      name: 'restore',
      who: 'ada',
      reason: '',
      since: null,
      expiresAt: '2026-11-21T00:00:30Z',
    };
    const { problems } = judge({ at: 0, group: NO_LEADER }, [
      { tenant: 'quiet', waitingJobs: 0, holders: by('', '') },
      { tenant: 'acme', waitingJobs: 3, holders: by('', '') },
      { tenant: 'initech', waitingJobs: 2, holders: by('ada', 'to copy the file') },
      { tenant: 'hooli', waitingJobs: 9, holders: [restore] },
      { tenant: 'globex', waitingJobs: 1, holders: by('ada', '') },
    ]);
    expect(problems.filter(({ tenant }) => tenant !== undefined).map(({ text }) => text)).toEqual([
      'acme is paused and 3 jobs wait in its queue.',
      'initech is paused by ada (to copy the file) and 2 jobs wait in its queue.',
      'globex is paused by ada and 1 job waits in its queue.',
    ]);
  });
});
