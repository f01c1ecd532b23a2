import type { WireError } from '@onewriter/protocol';
import type { OperationFlags } from '@onewriter/sdk/sealed';
import type { BodyName, StatementBody } from './statement-body.ts';

/** To the thread that reads bodies: one at a time. */
export interface BodyTask {
  readonly name: BodyName;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly flags: OperationFlags;
}

/** Result of it. */
export type BodyAnswer = { readonly body: StatementBody } | { readonly error: WireError };
