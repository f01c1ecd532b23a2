import type { Attack } from '../rig.ts';
import * as memory from './memory.ts';
import * as pools from './pools.ts';

/** All attacks, by name. */
export const ATTACKS: ReadonlyMap<string, Attack> = new Map(
  [...Object.values(pools), ...Object.values(memory)].map(attack => [attack.name, attack]),
);
