import type { HibernatedNote } from '@onewriter/protocol';
import type { PlannedSegment, RestorePlan } from '../chain/replica-reader.ts';

/** Where a hibernated tenant's file lies in the store, so that it comes back without a search. */
export interface HibernatedPlace {
  readonly pos: number;
  readonly segments: readonly PlannedSegment[];
}

/** A file in so many pieces comes back about as fast as in one. */
export const FEW_SEGMENTS = 3;
/** More would not save a request: the store's state is read in about so many. */
const MAX_SEGMENTS = 32;

/** Undefined where it is in too many pieces. */
export function placeOf({ pos, segments }: RestorePlan): HibernatedPlace | undefined {
  return segments.length > MAX_SEGMENTS ? undefined : { pos, segments };
}

export function readPlace({ place }: HibernatedNote): HibernatedPlace | undefined {
  return place as HibernatedPlace | undefined;
}
