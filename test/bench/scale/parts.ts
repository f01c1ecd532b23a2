import { scaleClients } from './scale-clients.ts';
import { scaleFile } from './scale-file.ts';
import { scaleImports } from './scale-imports.ts';
import type { ScalePart } from './scale-part.ts';
import { scaleTenants } from './scale-tenants.ts';
import { scaleTurns } from './scale-turns.ts';

/** All that `--scale` measures, in this order. */
export const SCALE_PARTS: readonly ScalePart[] = [
  scaleTenants,
  scaleTurns,
  scaleFile,
  scaleClients,
  scaleImports,
];
