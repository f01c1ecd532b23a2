import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { generateLuaScripts } from './lua-scripts.js';

const scripts: { path: string; content: string }[] = generateLuaScripts();

it.each(scripts)('$path is what its .lua files make (npm run lua)', ({ path, content }) => {
  expect(readFileSync(path, 'utf8')).toBe(content);
});

it('are found', () => {
  expect(scripts.length).toBeGreaterThan(4);
});
