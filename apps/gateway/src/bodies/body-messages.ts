import type { WireError } from '@onewriter/protocol';
import type { OperationFlags } from '@onewriter/sdk/sealed';
import type { OtherBodies, OtherBodyName } from './other-bodies.ts';
import type { BodyName, StatementBody } from './statement-body.ts';

/** A body with statements, of a request or of a line. */
export interface StatementTask<Name extends BodyName = BodyName> {
  readonly name: Name;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly flags: OperationFlags;
  /** For errors; those of a drop-in body name their own. */
  readonly tenant?: string | undefined;
}

/** Another body. */
export interface OtherTask<Name extends OtherBodyName = OtherBodyName> {
  readonly name: Name;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** To a thread that reads bodies: one at a time. */
export type BodyTask =
  | ({ readonly type: 'statements' } & StatementTask)
  | ({ readonly type: 'other' } & OtherTask);

/** What a body was read as. */
export type ReadBody = StatementBody | OtherBodies[OtherBodyName];

/** Result of a task. */
export type BodyAnswer = { readonly body: ReadBody } | { readonly error: WireError };

/** From the thread: once that it has started, with the id that Linux has for it, then an answer for each task. */
export type ThreadMessage =
  | { readonly type: 'ready'; readonly id: number | undefined }
  | { readonly type: 'answer'; readonly answer: BodyAnswer };
