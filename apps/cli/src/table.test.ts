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

  it('shows the columns of an empty result', () => {
    expect(formatTable(['a', 'bb'], [])).toBe('a  bb\n─  ──\n');
  });
});
