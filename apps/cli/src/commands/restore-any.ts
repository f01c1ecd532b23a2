import { UsageError } from '../usage-error.ts';
import type { RestoreOptions } from './restore.ts';
import type { RestoreAllOptions } from './restore-all.ts';
import type { RestoreLitestreamOptions } from './restore-litestream.ts';
import type { RestorePointOptions } from './restore-point.ts';

/** Options of all kinds of `onewriter restore`. */
export type RestoreAnyOptions = RestoreOptions &
  RestorePointOptions &
  RestoreLitestreamOptions &
  RestoreAllOptions & { readonly all?: boolean; readonly rows?: string };

/**
 * `onewriter restore`: of a backup; of a point of the replica (`--at`), or rows of it (`--rows`); of the whole replica (`--all`); of a
 * replica of Litestream (`--from-litestream`).
 */
export async function restoreAny(
  path: string | undefined,
  tenant: string | undefined,
  options: RestoreAnyOptions,
): Promise<number> {
  if (options.takeOver && !options.all) throw new UsageError('--take-over goes with --all.');
  if (options.hibernated && !options.all) throw new UsageError('--hibernated goes with --all.');
  const { all, at, as, replace, leavePaused, from, rows, fromLitestream } = options;
  if (all) {
    if (
      path !== undefined ||
      at !== undefined ||
      as !== undefined ||
      replace ||
      leavePaused ||
      rows ||
      fromLitestream
    )
      throw new UsageError(
        '--all restores the newest state of tenants that are not here: give --from, and no tenant.',
      );
    return (await import('./restore-all.ts')).restoreAll(options);
  }
  if (path === undefined) throw new UsageError('Give a backup, or a tenant and --at, or --all.');
  if (fromLitestream !== undefined) {
    if (tenant !== undefined || as !== undefined || from !== undefined || rows !== undefined)
      throw new UsageError('With --from-litestream give the tenant that it becomes, and no other source.');
    return (await import('./restore-litestream.ts')).restoreFromLitestream(path, fromLitestream, options);
  }
  if (rows !== undefined) {
    if (
      at === undefined ||
      tenant !== undefined ||
      as !== undefined ||
      replace ||
      leavePaused ||
      options.offline
    )
      throw new UsageError('--rows goes with one tenant and --at: it writes to the tenant as it is.');
    return (await import('../diff/diff-point.ts')).restoreRows(path, at, rows, options);
  }
  if (at === undefined && as === undefined && from === undefined)
    return (await import('./restore.ts')).restore(path, tenant, options);
  if (tenant !== undefined) throw new UsageError('With --at give one tenant; the new one with --as.');
  return (await import('./restore-point.ts')).restorePoint(path, options);
}
