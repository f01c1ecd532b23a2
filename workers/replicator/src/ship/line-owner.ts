import type { CloseNote, GapReason } from './continues.ts';

/** What a tenant's line asks of its owner. */
export interface LineOwner {
  readonly nowMs: () => number;
  /** These bytes of the room are free again. */
  readonly free: (bytes: number) => void;
  /** The chain is broken, counted and to be reported. */
  readonly gap: (tenant: string, reason: GapReason | 'lost') => void;
  readonly readNote: (tenant: string) => CloseNote | undefined;
  readonly writeNote: (tenant: string, note: CloseNote) => void;
}
