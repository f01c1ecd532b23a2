import type { CloseNote, GapReason } from './continues.ts';
import type { RoomShare } from './pack-item.ts';

/** What a tenant's line asks of its owner. */
export interface LineOwner {
  readonly nowMs: () => number;
  /** A piece is stored, or of no use: its bytes of the room are free again. */
  readonly free: (share: RoomShare) => void;
  /** The chain is broken, counted and to be reported. */
  readonly gap: (tenant: string, reason: GapReason | 'lost') => void;
  readonly readNote: (tenant: string) => CloseNote | undefined;
  readonly writeNote: (tenant: string, note: CloseNote) => void;
}
