import { describe, expect, it } from 'vitest';
import { boundMessage, sqliteMessage } from './sqlite-message.ts';

describe('the message of an error of SQLite', () => {
  it('is what SQLite says', () => {
    expect(sqliteMessage(new Error('no such table: t'))).toBe('no such table: t');
    expect(sqliteMessage('thrown')).toBe('thrown');
    expect(boundMessage('x'.repeat(1_000))).toBe('x'.repeat(1_000));
  });

  it('is cut in the middle where it is long', () => {
    const message = sqliteMessage(new Error(`near "${'x'.repeat(1_000_000)}": syntax error`));
    expect(message).toHaveLength(1_000);
    expect(message).toMatch(/^near "x+…x+": syntax error$/);
  });

  it('leaves no half of a surrogate pair', () => {
    const message = sqliteMessage(new Error(`x${'😀'.repeat(1_000)}x`));
    expect(message.isWellFormed()).toBe(true);
    expect(message).toHaveLength(1_000);
  });
});
