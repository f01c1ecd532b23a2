import type { LoadKey } from '../load/load-key.ts';
import type { FileNumbers } from './file-numbers.ts';

/** What a process that made the file says of it. */
export interface StagedFile {
  readonly numbers: FileNumbers;
  readonly warnings: readonly string[];
  /** Noted in the file as it is put in place, so that the same request finds it the next time. */
  readonly loadKey?: LoadKey | undefined;
  /** Set where it made no file, because an earlier request with its key was this commit. */
  readonly before?: number | undefined;
}
