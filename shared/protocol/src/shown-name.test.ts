import { expect, it } from 'vitest';
import { shownName, shownNames } from './shown-name.ts';

it('leaves a usual name as it is', () => {
  expect(shownName('Aufträge 2024 "neu" 🧵')).toBe('Aufträge 2024 "neu" 🧵');
});

it('cuts a long name in its middle, never half of a character, and says how long it is', () => {
  const shown = shownName(`${'a'.repeat(78)}${'😀'.repeat(450_000)}end`);
  expect(shown.length).toBeLessThan(130);
  expect(shown).toMatch(/^a{78}�….*end \(900081 characters\)$/u);
  expect(shown.isWellFormed()).toBe(true);
});

it('escapes what would drive a terminal, forge a line, or turn the writing direction', () => {
  expect(shownName('a\u001b[2J\nb\u202ec')).toBe('a\\u001b[2J\\u000ab\\u202ec');
});

it('shows a bounded number of names', () => {
  expect(shownNames(['a', 'b'])).toBe('a, b');
  expect(shownNames(['a', 'b', 'c', 'd'], 2)).toBe('a, b and 2 more');
});
