import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import type { TestSpecification, Vitest } from 'vitest/node';
import { LONG_FILES, LongFilesFirst } from './long-files-first.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

it('starts long files first, and the others as vitest would', async () => {
  const project = { name: 'e2e', config: { isolate: true, sequence: { groupOrder: 1 } } };
  const [longest, second] = LONG_FILES;
  const sizes: Record<string, number> = { small: 1, large: 9, [second!]: 3, [longest!]: 2 };
  const cache = {
    getFileTestResults: () => undefined,
    getFileStats: (key: string) => ({ size: sizes[key.slice('e2e:'.length)]! }),
  };
  const sequencer = new LongFilesFirst({ config: { root: ROOT }, cache } as unknown as Vitest);
  const files = Object.keys(sizes).map(name => ({ moduleId: ROOT + name, project }));
  const sorted = (await sequencer.sort(files as unknown as TestSpecification[])) as unknown as typeof files;
  expect(sorted.map(({ moduleId }) => moduleId.slice(ROOT.length))).toEqual([
    longest,
    second,
    'large',
    'small',
  ]);
});

it('names files that exist', () => {
  expect(LONG_FILES.filter(file => !existsSync(ROOT + file))).toEqual([]);
});
