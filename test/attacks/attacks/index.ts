import type { Attack } from '../rig.ts';
import * as pools from './pools.ts';

/** All attacks, by name. */
export const ATTACKS: ReadonlyMap<string, Attack> = new Map(
  [...Object.values(pools)].map(attack => [attack.name, attack]),
);
