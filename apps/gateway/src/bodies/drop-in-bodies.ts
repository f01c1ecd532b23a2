import { LIMITS } from '@onewriter/protocol';
import { Parameters, z } from '../dialects/v1/schemas.ts';

/** Body of `POST /query`. */
export const DropInQuery = z
  .object({
    tenantId: z.string(),
    query: z.string(),
    params: Parameters,
    method: z.enum(['run', 'get', 'all']).nullish(),
  })
  .openapi('DropInQuery');

/** Body of `POST /transaction`. */
export const DropInTransaction = z
  .object({
    tenantId: z.string(),
    queries: z
      .array(z.object({ query: z.string(), params: Parameters }))
      .min(1)
      // More are STATEMENT_TOO_LARGE.
      .openapi({ maxItems: LIMITS.maxTransactionStatements }),
  })
  .openapi('DropInTransaction');
