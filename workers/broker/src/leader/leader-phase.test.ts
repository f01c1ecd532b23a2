import type { Logger } from '@onewriter/runtime';
import { describe, expect, it } from 'vitest';
import { LeaderPhase } from './leader-phase.ts';

const quiet = { warn() {}, error() {}, fatal() {} } as unknown as Logger;

function createPhase() {
  const reasons: string[] = [];
  return { phase: new LeaderPhase(reason => reasons.push(reason), quiet), reasons };
}

describe('the phase of a leader', () => {
  it('is preparing, leading, stopped', () => {
    const { phase, reasons } = createPhase();
    const seen = [phase.current];
    phase.lead();
    seen.push(phase.current);
    expect([phase.isEnding, phase.stop(), phase.isEnding]).toEqual([false, true, true]);
    expect([...seen, phase.current]).toEqual(['preparing', 'leading', 'stopped']);
    expect(reasons).toEqual([]);
  });

  it.each(['preparing', 'leading'] as const)('asks for the end of the process once, when %s', before => {
    const { phase, reasons } = createPhase();
    if (before === 'leading') phase.lead();
    phase.end('fenced by a newer broker');
    phase.end('another reason');
    phase.onBug(new Error('follows from the first'));
    expect(reasons).toEqual(['fenced by a newer broker']);
    expect([phase.current, phase.isEnding]).toEqual(['ending', true]);
  });

  it('is stopped once, after which nothing asks for its end', () => {
    const { phase, reasons } = createPhase();
    expect([phase.stop(), phase.stop()]).toEqual([true, false]);
    phase.onBug(new Error('too late'));
    expect(reasons).toEqual([]);
  });

  it('ends for an internal error, and for a refusal by Redis under a name of its own', () => {
    const bug = createPhase();
    bug.phase.onBug(new Error('a bug'));
    const refused = createPhase();
    const reply = new Error("NOPERM this user has no permissions to run the 'zadd' command");
    refused.phase.onBug(Object.assign(reply, { name: 'ReplyError' }));
    expect([bug.reasons, refused.reasons]).toEqual([
      ['internal error'],
      ['Redis refuses what a leader needs'],
    ]);
  });

  it.each(['stop', 'end'] as const)('cannot lead after %s', how => {
    const { phase } = createPhase();
    phase[how]('over');
    expect(() => phase.lead()).toThrow(/cannot go from/);
  });
});
