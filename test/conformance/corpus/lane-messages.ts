import type { FileReport } from './file-report.ts';
import type { InterfaceName, StackAddress } from './interfaces.ts';

/** One file through one interface. */
export interface LaneTask {
  readonly through: InterfaceName;
  readonly path: string;
  /** Name of the file in the corpus. */
  readonly file: string;
  readonly leftOut: readonly number[];
}

/** To a lane. */
export type LaneOrder =
  | {
      readonly type: 'start';
      readonly lane: string;
      readonly stack: StackAddress;
      readonly folder: string;
      readonly limit: number;
      readonly pragmas: readonly string[];
    }
  | { readonly type: 'run'; readonly task: LaneTask }
  | { readonly type: 'end' };

/** From a lane. */
export type LaneNews =
  | { readonly type: 'ready' }
  /** It begins with an item of the task's script. */
  | { readonly type: 'item'; readonly index: number }
  | { readonly type: 'done'; readonly report: FileReport };
