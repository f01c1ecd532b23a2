import { describe, expect, it } from 'vitest';
import { formatTable } from './table.ts';

describe('formatTable', () => {
  it('aligns numbers to the right and cuts what is too wide', () => {
    const text = formatTable(
      ['name', 'n'],
      [
        ['a', '1'],
        ['x'.repeat(100), '-200'],
      ],
    );
    expect(text.split('\n')).toEqual([
      `name${' '.repeat(56)}     n`,
      `${'─'.repeat(60)}  ────`,
      `a${' '.repeat(59)}     1`,
      `${'x'.repeat(59)}…  -200`,
      '',
    ]);
  });

  it('lets no stored control character reach the terminal', () => {
    const text = formatTable(['a'], [['\u001b[2J\r\n\u009b1']]);
    expect(text.split('\n')).toHaveLength(4);
    for (const control of ['\u001b', '\r', '\u009b']) expect(text).not.toContain(control);
  });

  it('aligns by what a terminal shows: wide characters, emoji, combining marks', () => {
    const family = '👨‍👩‍👧';
    const text = formatTable(
      ['a', 'b'],
      ['日本', family, 'e\u0301', 'plain', '\u0600'].map(cell => [cell, 'x']),
    );
    expect(text.split('\n')).toEqual([
      'a      b',
      '─────  ─',
      '日本   x',
      `${family}     x`,
      'e\u0301      x',
      'plain  x',
      '\u0600       x',
      '',
    ]);
  });

  it('cuts between characters, not inside one', () => {
    const cut = (text: string) => formatTable(['a'], [[text]], { maxCellWidth: 6 }).split('\n')[2];
    expect(cut('日本語日本語')).toBe('日本…');
    expect(cut('日本語')).toBe('日本語');
    expect(cut(`ab${'👨‍👩‍👧'.repeat(3)}`)).toBe('ab👨‍👩‍👧…');
    expect(cut(`a${'\u0301'.repeat(10_000)}`)).toMatch(/^a\u0301+…$/);
  });

  it('shows the columns of an empty result', () => {
    expect(formatTable(['a', 'bb'], [])).toBe('a  bb\n─  ──\n');
  });
});
