import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/*
 * `node infra/docker/assemble.js <folder>`: copies what a running process needs of each package, all but node_modules,
 * into an empty folder: the built code without tests, declarations and maps.
 */

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
/** Not in the image. */
const WITHOUT = ['shared/testkit', 'test'];
/** Copied from each package, besides package.json. */
const PARTS = ['dist', 'bin', 'public'];
const NEEDLESS = /\.(d\.ts|map|tsbuildinfo)$|\.test(-support)?\.js$/;

const target = process.argv[2];
if (target === undefined) throw new Error('Say where to: node infra/docker/assemble.js <folder>');

const { workspaces } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8'));
for (const folder of workspaces.flatMap(expand)) {
  if (WITHOUT.includes(folder)) continue;
  copy(join(folder, 'package.json'));
  for (const part of PARTS) copy(join(folder, part));
}
copy('infra/docker/bin');
copy('infra/docker/probe.js');
copy('LICENSE');
// Makes `type: module` known, and names the version.
const { name, version, license } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8'));
writeFileSync(
  join(target, 'package.json'),
  `${JSON.stringify({ name, version, license, private: true, type: 'module' }, null, 2)}\n`,
);

/** `shared/*` to the folders with a package in it. @param {string} pattern */
function expand(pattern) {
  if (!pattern.endsWith('/*')) return [pattern];
  const parent = pattern.slice(0, -2);
  return readdirSync(join(REPOSITORY, parent))
    .map(name => join(parent, name))
    .filter(folder => existsSync(join(REPOSITORY, folder, 'package.json')));
}

/** @param {string} path */
function copy(path) {
  const source = join(REPOSITORY, path);
  if (!existsSync(source)) return;
  mkdirSync(join(target, path, '..'), { recursive: true });
  cpSync(source, join(target, path), { recursive: true, filter: from => !NEEDLESS.test(from) });
}
