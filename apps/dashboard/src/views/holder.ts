import type { TenantHolder } from '@onewriter/tenants';
import { formatAgo } from './format.ts';

/** Who keeps a tenant still, in a word: `paused`, `paused: repeat-offender`, `held: restore`. */
export function nameHold(holders: readonly TenantHolder[]): string {
  const program = holders.find(({ expiresAt }) => expiresAt !== null);
  if (program !== undefined) return `held: ${program.name}`;
  const named = holders.find(({ name }) => name !== 'pause');
  return named === undefined ? 'paused' : `paused: ${named.name}`;
}

/** `Paused by alice 3 min ago: to copy the file`; `Held by a restore of …`. */
export function holderLine({ name, who, since, reason, expiresAt }: TenantHolder, now: number): string {
  const pause = name === 'pause' ? 'Paused' : `Paused (${name})`;
  const what = expiresAt === null ? pause : `Held by a ${name}`;
  const by = who === '' ? '' : expiresAt === null ? ` by ${who}` : ` of ${who}`;
  const ago = since === null ? '' : ` ${formatAgo(now - Date.parse(since))}`;
  return `${what}${by}${ago}${reason === '' ? '' : `: ${reason}`}`;
}

/** When the first of them came, ms since the epoch; undefined where that is not known. */
export function heldSince(holders: readonly TenantHolder[]): number | undefined {
  const times = holders.flatMap(({ since }) => (since === null ? [] : [Date.parse(since)]));
  return times.length === 0 ? undefined : Math.min(...times);
}
