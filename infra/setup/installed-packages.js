import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Lists the packages of package-lock.json that are not installed. npm keeps a list of what it has installed in
 * `node_modules/.package-lock.json` and deletes it when it begins to change something, so this also notices an
 * installation that was broken off, and is right after a plain `npm install`.
 *
 * @param {string} root folder of package-lock.json
 * @returns {'complete' | 'none' | string} `none`: nothing is installed; else the first package that is missing or of
 *   another version
 */
export function compareInstalled(root) {
  const wanted = readPackages(join(root, 'package-lock.json'));
  const installed = readPackages(join(root, 'node_modules/.package-lock.json'));
  if (wanted === undefined) throw new Error('package-lock.json is missing.');
  if (installed === undefined) return 'none';
  for (const [path, entry] of Object.entries(wanted)) {
    // Optional ones may be for another platform; '' is the root, and workspaces have no version of npm's.
    if (path === '' || entry.optional === true || entry.devOptional === true || entry.peer === true) continue;
    if (!path.includes('node_modules/')) continue;
    const found = installed[path];
    if (found === undefined || found.version !== entry.version || found.integrity !== entry.integrity)
      return path;
  }
  return 'complete';
}

/** @param {string} file */
function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}
