import type { OnewriterError, StepClass } from '@onewriter/protocol';

/** What a statement is; `refused`: the statement rules say no. */
export type StatementKind = StepClass | { readonly kind: 'refused'; readonly error: OnewriterError };
