import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeCommands } from '../completion/describe-commands.ts';
import { createProgram } from '../program.ts';
import { formatReference } from './format-reference.ts';

const newProgram = () => createProgram(() => {});
const page = readFileSync(new URL('../../../../docs/cli.md', import.meta.url), 'utf8');

it('is what docs/cli.md has; `npm run docs` writes it', () => {
  expect(page).toBe(formatReference(newProgram()));
});

it('has each command with its options and examples', () => {
  for (const { path, options } of describeCommands(newProgram())) {
    const section = page.split(`\n## ${`onewriter ${path}`.trim()}\n`)[1]?.split('\n## ')[0] ?? '';
    for (const { flag } of options.filter(option => option.flag !== '--help'))
      expect.soft(section, `${path} ${flag}`).toContain(flag);
  }
  expect(page).toContain('onewriter backup --all --out /mnt/backups     for cron');
  expect(page).toContain('Exit codes:');
  expect(page).not.toContain('__tenants');
});
