import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/*
 * `node infra/kubernetes/render.js`: writes each overlay as `kubectl kustomize` makes it to `rendered/`. Those files are
 * what the tests look at on machines without kubectl, what a reviewer reads, and what can be applied without kustomize.
 */

const FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** Overlays that are rendered. */
export const OVERLAYS = ['dev', 'production', 'replica', 'tokenless'];

/** The text of `rendered/<overlay>.yaml`. @param {string} overlay */
export function render(overlay) {
  const yaml = execFileSync('kubectl', ['kustomize', `${FOLDER}overlays/${overlay}`], { encoding: 'utf8' });
  return `# Made by infra/kubernetes/render.js of overlays/${overlay}: change that, not this.\n${yaml}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const overlay of OVERLAYS) writeFileSync(`${FOLDER}rendered/${overlay}.yaml`, render(overlay));
}
