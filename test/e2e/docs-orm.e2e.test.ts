import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Stack,
  spawnProcess,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  withoutSettings,
} from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

/** A block of code of the page, with what stands before it. */
interface Snippet {
  readonly heading: string;
  readonly marker: string;
  readonly code: string;
}

const page = await readFile(join(REPOSITORY, 'docs/orm.md'), 'utf8');
const snippets = readSnippets(page);

let stack: Stack;
let root: TemporaryDirectory;

beforeAll(async () => {
  root = await temporaryDirectory('docs-orm');
  await symlink(join(REPOSITORY, 'node_modules'), join(root.path, 'node_modules'));
  await mkdir(join(root.path, 'drizzle/meta'), { recursive: true });
  const entry = { idx: 0, version: '6', when: 1, tag: '0000_tasks', breakpoints: true };
  const journal = { version: '7', dialect: 'sqlite', entries: [entry] };
  await writeFile(join(root.path, 'drizzle/meta/_journal.json'), JSON.stringify(journal));
  const table =
    'CREATE TABLE tasks(id integer PRIMARY KEY, title text NOT NULL, done integer NOT NULL DEFAULT 0)';
  await writeFile(join(root.path, 'drizzle/0000_tasks.sql'), table);
  stack = await startStack();
});

afterAll(async () => {
  await stack?.stop();
  await root?.remove();
});

function readSnippets(text: string): readonly Snippet[] {
  const found: Snippet[] = [];
  let heading = '';
  let marker = '';
  for (const [, title, comment, code] of text.matchAll(
    /^#+ (.+)$|^<!-- (.+) -->$|^```\w+\n([\s\S]*?)^```$/gm,
  )) {
    if (title !== undefined && code === undefined) heading = title;
    if (comment !== undefined) marker = comment;
    if (code !== undefined) {
      found.push({ heading, marker, code });
      marker = '';
    }
  }
  return found;
}

/** What the comments behind console.log say that it prints. */
function announced(code: string): string {
  const lines = [...code.matchAll(/^ *console\.log\(.*\); \/\/ (.*)$/gm)].flatMap(match =>
    match[1]!.split(' // '),
  );
  return `${lines.join('\n')}\n`;
}

describe('the page about ORMs', () => {
  it('marks each snippet as run or not run', () => {
    expect(snippets.length).toBeGreaterThanOrEqual(7);
    for (const { heading, marker } of snippets)
      expect([heading, marker]).toEqual([heading, expect.stringMatching(/^(run|not run: .+)$/)]);
  });

  it.each(snippets.filter(({ marker }) => marker === 'run'))(
    'prints what it says: $heading',
    async ({ heading, code }) => {
      const file = join(root.path, `${heading.replace(/\W+/g, '-')}.mjs`);
      await writeFile(file, code);
      const child = await spawnProcess(process.execPath, [file], {
        cwd: root.path,
        env: {
          ...withoutSettings(),
          ONEWRITER_REDIS_URL: stack.redisUrl,
          ONEWRITER_DATA_DIR: stack.dataDir,
          ONEWRITER_GATEWAY_URL: stack.gatewayUrl,
          ONEWRITER_TOKEN: stack.token,
        },
      });
      const exit = await child.exited;
      expect(child.stderr()).toBe('');
      expect(exit).toEqual({ code: 0, signal: null });
      expect(child.stdout()).toBe(announced(code));
    },
  );
});
