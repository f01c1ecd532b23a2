import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { expect, it } from 'vitest';
import { generateLuaScripts } from './lua-scripts.js';
import { REPOSITORY } from './run-command.js';

const scripts: { path: string; content: string }[] = generateLuaScripts();
const contentOf = (folder: string) => scripts.find(({ path }) => path.includes(folder))!.content;

it('finds the folders with scripts', () => {
  expect(scripts.map(({ path }) => relative(REPOSITORY, path))).toContain(
    'workers/broker/src/queue/lua-scripts.ts',
  );
  expect(scripts.length).toBeGreaterThan(4);
});

it('makes a constant of each script, with its first comment as docs', () => {
  const content = contentOf('broker/src/queue');
  const [, docs] = /^-- (.*)/.exec(
    readFileSync(`${REPOSITORY}/workers/broker/src/queue/fetch-jobs.lua`, 'utf8'),
  )!;
  expect(content).toContain(docs!);
  expect(content).toContain('export const FETCH_JOBS = `');
  expect(content).not.toContain('export const FENCE');
});

it.each(scripts)('includes all parts in $path, and leaves out comments', ({ content }) => {
  const code = content.replaceAll(/\/\*\*.*?\*\//gs, '');
  expect(code).not.toMatch(/^\s*--/m);
  expect(code.match(/^export const /gm)?.length).toBe(code.match(/^`;$/gm)?.length);
});

it.each(scripts)('$path is there when tests run', ({ path, content }) => {
  expect(readFileSync(path, 'utf8')).toBe(content);
});
