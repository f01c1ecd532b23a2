import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const map = readFileSync(`${REPOSITORY}/docs/architecture.md`, 'utf8');
const quoted = [...map.matchAll(/`([^`\n]+)`/g)].map(([, text]) => text!);

it('names only files and folders that exist', () => {
  const paths = quoted.filter(text => /^(apps|docs|infra|shared|test|workers)\//.test(text));
  expect(paths.length).toBeGreaterThan(60);
  expect(paths.filter(path => !existsSync(`${REPOSITORY}/${path}`))).toEqual([]);
});

it('names every file with its folder', () => {
  expect(quoted.filter(text => /^[\w.-]+\.(ts|js|lua|yml)$/.test(text))).toEqual([]);
});

it('names every package, and every folder of infra and test', () => {
  const folders = ['shared', 'workers', 'apps', 'infra', 'test'].flatMap(group =>
    readdirSync(`${REPOSITORY}/${group}`, { withFileTypes: true })
      .filter(entry => entry.isDirectory() && !/^(node_modules|dist|\..*)$/.test(entry.name))
      .map(entry => `${group}/${entry.name}`),
  );
  expect(folders.filter(folder => !quoted.includes(folder))).toEqual([]);
});

it.each([
  ['TENANT_ID_PATTERN', 'shared/protocol/src/tenant-id.ts'],
  ['WireOperation', 'shared/protocol/src/write-job.ts'],
  ['stateOf', 'shared/tenants/src/tenant-state.ts'],
  ['closeIdleTenants', 'workers/broker/src/leader/idle-close.ts'],
  ['findStatusProblems', 'shared/protocol/src/status-findings.ts'],
])('finds %s in %s', (name, path) => {
  expect(map).toContain(`\`${name}\` in \`${path}\``);
  expect(readFileSync(`${REPOSITORY}/${path}`, 'utf8')).toContain(name);
});
