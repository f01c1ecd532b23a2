import { UsageError } from '../usage-error.ts';
import type { RestoreOptions } from './restore.ts';
import type { RestoreAllOptions } from './restore-all.ts';
import type { RestorePointOptions } from './restore-point.ts';

/** Options of all kinds of `onewriter restore`. */
export type RestoreAnyOptions = RestoreOptions &
  RestorePointOptions &
  RestoreAllOptions & { readonly all?: boolean };

/** `onewriter restore`: of a backup; of a point of the replica (`--at`); of the whole replica (`--all`). */
export async function restoreAny(
  path: string | undefined,
  tenant: string | undefined,
  options: RestoreAnyOptions,
): Promise<number> {
  const { all, at, as, replace, leavePaused, from } = options;
  if (all) {
    if (path !== undefined || at !== undefined || as !== undefined || replace || leavePaused)
      throw new UsageError(
        '--all restores the newest state of tenants that are not here: give --from, and no tenant.',
      );
    return (await import('./restore-all.ts')).restoreAll(options);
  }
  if (path === undefined) throw new UsageError('Give a backup, or a tenant and --at, or --all.');
  if (at === undefined && as === undefined && from === undefined)
    return (await import('./restore.ts')).restore(path, tenant, options);
  if (tenant !== undefined) throw new UsageError('With --at give one tenant; the new one with --as.');
  return (await import('./restore-point.ts')).restorePoint(path, options);
}
