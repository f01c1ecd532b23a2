import type { Attack } from '../rig.ts';
import * as bodies from './bodies.ts';
import * as loops from './loops.ts';
import * as memory from './memory.ts';
import * as offenders from './offenders.ts';
import * as pools from './pools.ts';

/** All attacks, by name. */
export const ATTACKS: ReadonlyMap<string, Attack> = new Map(
  [
    ...Object.values(pools),
    ...Object.values(loops),
    ...Object.values(bodies),
    ...Object.values(memory),
    ...Object.values(offenders),
  ].map(attack => [attack.name, attack]),
);
