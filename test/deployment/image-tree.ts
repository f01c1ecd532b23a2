import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. */
export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

/** Node's user in the image. */
export const IMAGE_USER = 1000;

/**
 * Puts the files of the image's `/app` into `folder`, as the Dockerfile does: what `assemble.js` copies, with the
 * installed packages beside it.
 */
export async function assembleImageTree(folder: string): Promise<void> {
  execFileSync(process.execPath, [join(REPOSITORY, 'infra/docker/assemble.js'), folder]);
  const installed = join(REPOSITORY, 'node_modules');
  const modules = join(folder, 'node_modules');
  await mkdir(join(modules, '@onewriter'), { recursive: true });
  for (const name of await readdir(installed)) {
    // Ours must be those of the tree: their links are set below.
    if (name !== '@onewriter') await symlink(join(installed, name), join(modules, name));
  }
  for (const parent of ['shared', 'workers', 'apps']) {
    for (const name of await readdir(join(folder, parent))) {
      await symlink(join('../..', parent, name), join(modules, '@onewriter', name));
    }
  }
}

/**
 * What to put before a command so that it runs as the image's user: nothing where we are no root, or where that user
 * cannot read the repository (a home folder of mode 700).
 */
export function asImageUser(): readonly string[] {
  if (process.getuid?.() !== 0) return [];
  const prefix = ['setpriv', `--reuid=${IMAGE_USER}`, `--regid=${IMAGE_USER}`, '--clear-groups'];
  const [program, ...args] = prefix;
  const canRead = spawnSync(program!, [...args, 'test', '-r', join(REPOSITORY, 'package.json')]).status === 0;
  return canRead ? prefix : [];
}
