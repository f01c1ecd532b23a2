import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { runCommand } from './run-command.js';
import { SetupError, say } from './say.js';

/** Path of a program, undefined if it is not on the PATH. @param {string} name */
export function findProgram(name) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (folder === '') continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}

let listsAreFresh = false;

/**
 * Makes sure that one of `programs` is on the PATH, with apt where it is missing.
 *
 * @param {{ programs: readonly string[], debianPackages: readonly string[], otherwise: string }} need
 *   `otherwise`: what a person should do where apt cannot be used; ends with a full stop
 * @returns {Promise<string>} path of the program
 */
export async function ensureProgram({ programs, debianPackages, otherwise }) {
  const find = () => programs.map(findProgram).find(path => path !== undefined);
  const found = find();
  if (found !== undefined) return found;
  await installDebianPackages(debianPackages, `${programs[0]} is not installed. ${otherwise}`);
  const installed = find();
  if (installed === undefined)
    throw new SetupError(`${programs[0]} is not on the PATH after its installation.`);
  return installed;
}

/**
 * @param {readonly string[]} packages
 * @param {string} remedy what to say where that is not possible
 */
export async function installDebianPackages(packages, remedy) {
  if (findProgram('apt-get') === undefined) throw new SetupError(remedy);
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && (await runCommand(['sudo', '-n', 'true'], { quiet: true })).code !== 0) {
    throw new SetupError(remedy);
  }
  const environment = [
    'DEBIAN_FRONTEND=noninteractive',
    // Packages that bring a service start it unless the machine is in single-user mode; the program is all we need,
    // and a Redis of the system on port 6379 would have no owner.
    'RUNLEVEL=1',
  ];
  const apt = async (...args) => {
    const command = [...(isRoot ? ['env'] : ['sudo', '-n', 'env']), ...environment, 'apt-get', ...args];
    const { code, output } = await runCommand(command, { quiet: true });
    if (code === 0) return;
    process.stderr.write(`${output.trimEnd()}\n`);
    throw new SetupError(`apt-get ${args[0]} failed. ${remedy}`);
  };
  say(`installing ${packages.join(' ')} with apt`);
  if (!listsAreFresh) await apt('update');
  listsAreFresh = true;
  await apt('install', '-y', '--no-install-recommends', ...packages);
}
