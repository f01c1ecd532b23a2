import { LIMITS } from '@onewriter/protocol';
import { Parameters, z } from '../dialects/v1/schemas.ts';

/** See {@link decodeDropInParameters}. */
const DropInParameters = z
  .union([Parameters, z.string(), z.number(), z.boolean()])
  .openapi('DropInParameters', {
    description:
      'As better-sqlite3 takes them: a list, an object of names, a single value; or a list that has lists and one object of names among its values.',
  });

/** Body of `POST /query`. */
export const DropInQuery = z
  .object({
    tenantId: z.string(),
    query: z.string(),
    params: DropInParameters,
    method: z.enum(['run', 'get', 'all']).nullish(),
  })
  .openapi('DropInQuery');

/** Body of `POST /transaction`. */
export const DropInTransaction = z
  .object({
    tenantId: z.string(),
    queries: z
      .array(z.object({ query: z.string(), params: DropInParameters }))
      .min(1)
      // More are STATEMENT_TOO_LARGE.
      .openapi({ maxItems: LIMITS.maxTransactionStatements }),
  })
  .openapi('DropInTransaction');
