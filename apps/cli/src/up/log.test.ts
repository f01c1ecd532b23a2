import { describe, expect, it } from 'vitest';
import { formatChildLine } from './log.ts';

const afterClock = (text: string) => text.replace(/^\d\d:\d\d:\d\d /, '');

describe('formatChildLine', () => {
  it('shows message, fields and the error of a pino line', () => {
    const line = JSON.stringify({
      level: 50,
      time: 0,
      pid: 1,
      hostname: 'h',
      name: 'broker',
      tenant: 'acme',
      jobs: 3,
      err: { type: 'OnewriterError', code: 'DATABASE_FULL', message: 'no space', stack: 'at …' },
      msg: 'the tenant is parked',
    });
    expect(afterClock(formatChildLine('broker', line, false))).toBe(
      'broker    error the tenant is parked  tenant=acme  jobs=3  DATABASE_FULL no space\n',
    );
  });

  it.each(['Error: boom', '{"half":', '{"no":"level"}', ''])('keeps %j as it is', line => {
    expect(afterClock(formatChildLine('gateway', line, false))).toBe(`gateway   info  ${line}\n`);
  });

  it('shows control characters of what tenants named, so that no name forges a line', () => {
    const msg = 'no such table: a\n12:00:00 broker    error all is lost\u001b[2J\u2028\u0007';
    const line = formatChildLine('broker', JSON.stringify({ level: 30, time: 0, msg, table: 'x\ry' }), false);
    expect(afterClock(line)).toBe(
      'broker    info  no such table: a\\n12:00:00 broker    error all is lost\\u001b[2J\\u2028\\u0007  table=x\\ry\n',
    );
  });

  it('has no escape sequences without colour, and some with it', () => {
    expect(formatChildLine('broker', 'x', false)).not.toContain('\u001b');
    expect(formatChildLine('broker', 'x', true)).toContain('\u001b[36m');
  });
});
