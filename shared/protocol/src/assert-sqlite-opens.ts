import { OnewriterError } from './onewriter-error.ts';

/**
 * Opens a database in memory, before a process is ready or stands by: packages that were built for another Node, or not
 * at all, would else be noticed at the first write of a tenant, as a fault of the tenant.
 *
 * @param open `() => new Database(':memory:')`, of better-sqlite3.
 * @throws OnewriterError MISCONFIGURED in one line, with the command that repairs it.
 */
export function assertSqliteOpens(open: () => { close(): unknown }): void {
  try {
    open().close();
  } catch (error) {
    throw new OnewriterError('MISCONFIGURED', describe(error as NodeJS.ErrnoException), {}, error);
  }
}

function describe({ message }: NodeJS.ErrnoException): string {
  const { version, versions, execPath } = process;
  // Source: Node, src/node_binding.cc (DLOpen).
  const built = /NODE_MODULE_VERSION (\d+).*NODE_MODULE_VERSION/s.exec(message)?.[1];
  const why =
    built === undefined
      ? `better-sqlite3 does not work with this Node (${version}, ${execPath}): ${message.split('\n', 1)[0]}`
      : `better-sqlite3 was built for another Node (module version ${built}) than this one (${version}, ${versions.modules}, ${execPath}).`;
  const root = /(\/[^\n']*?)\/node_modules\/better-sqlite3\//.exec(message)?.[1];
  const command = 'npm rebuild better-sqlite3';
  return `${why} Repair it with this Node first in PATH: ${root === undefined ? command : `cd ${root} && ${command}`}`;
}
