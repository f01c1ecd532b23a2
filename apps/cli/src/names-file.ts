import { readFileSync } from 'node:fs';
import { assertTenantId } from '@onewriter/protocol';
import { UsageError } from './usage-error.ts';

/** Reads `--names`: ids of tenants that a person chose, by their names elsewhere. @throws UsageError, OnewriterError INVALID_TENANT */
export function readNames(path: string | undefined): ReadonlyMap<string, string> {
  if (path === undefined) return new Map();
  let names: unknown;
  try {
    names = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new UsageError(`--names: ${(error as Error).message}`, error);
  }
  if (typeof names !== 'object' || names === null || Array.isArray(names))
    throw new UsageError('--names takes a file with an object of JSON: {"name": "id"}.');
  return new Map(Object.entries(names).map(([name, id]) => [name, assertTenantId(id)]));
}
