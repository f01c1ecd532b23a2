import { OnewriterError } from '@onewriter/protocol';
import type { z } from './schemas.ts';

/** Validates the query part of a URL. @throws OnewriterError INVALID_ARGUMENT */
export function parseQuery<Schema extends z.ZodType>(
  schema: Schema,
  query: Record<string, string>,
): z.output<Schema> {
  const parsed = schema.safeParse(query);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `The query parameter ${issue.path.join('.').slice(0, 200)} is wrong: ${issue.message}.`,
  );
}
