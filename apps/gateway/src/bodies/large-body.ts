import type { Taken } from '../security/shares.ts';

/** How a body that is not small is read. */
export interface LargeBody {
  /** What has arrived of it. */
  readonly taken: Taken;
  /** Whose it is, where turns are taken. */
  readonly owner: string;
}
