import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { assertTenantId, OnewriterError } from '@onewriter/protocol';
import { diffPoint, type PointOptions } from '../diff/diff-point.ts';
import { diffWith } from '../diff/diff-with.ts';
import { findTarget, requireDataDir } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter diff`, as the command line gives them. */
export interface DiffOptions extends PointOptions {
  readonly at?: string | undefined;
  readonly dataDir?: string | undefined;
}

/** Compares a tenant's file with a backup of it, or a point of the replica, row by row; brings rows back, if asked. */
export async function diff(
  tenantName: string,
  backup: string | undefined,
  options: DiffOptions,
): Promise<number> {
  const { at } = options;
  if ((backup === undefined) === (at === undefined)) throw new UsageError('Give a backup, or --at.');
  const target = findTarget(options.dataDir);
  requireDataDir(target);
  const tenant = assertTenantId(tenantName);
  if (at !== undefined) return diffPoint(target, tenant, at, options);
  const path = resolve(backup!);
  if (!existsSync(path)) throw new OnewriterError('NOT_FOUND', `There is no file ${path}.`);
  return diffWith(target, tenant, { path, name: path }, options);
}
