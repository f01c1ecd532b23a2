import { LIMITS } from '@onewriter/protocol';
import { z } from 'zod';

/*
 * The messages of the libSQL protocol (Hrana 2 and 3 over HTTP, JSON), as far as clients send them. Absent and null mean the
 * same. Source: HRANA_3_SPEC.md in tursodatabase/libsql.
 */

/** Steps of one HTTP request: one more begins a transaction in the writer. */
export const MAX_STEPS = LIMITS.maxSteps - 1;
/** Requests of one pipeline: as many as it may have steps. */
export const MAX_PIPELINE_REQUESTS = MAX_STEPS;
/** A value as it comes; see `values.ts`. */
export const WireHranaValue = z.discriminatedUnion('type', [
  z.object({ type: z.literal('null') }),
  z.object({ type: z.literal('integer'), value: z.union([z.string(), z.int()]) }),
  // As it comes out of JSON, where 1e999 is an infinity.
  z.object({ type: z.literal('float'), value: z.custom<number>(value => typeof value === 'number') }),
  z.object({ type: z.literal('text'), value: z.string() }),
  z.object({ type: z.literal('blob'), base64: z.string() }),
]);
export type WireHranaValue = z.output<typeof WireHranaValue>;

const sqlSource = {
  sql: z.string().nullish(),
  sql_id: z.int().nullish(),
};

/** A statement with its arguments. */
export const WireStatement = z.object({
  ...sqlSource,
  args: z.array(WireHranaValue).nullish(),
  named_args: z.array(z.object({ name: z.string(), value: WireHranaValue })).nullish(),
  want_rows: z.boolean().nullish(),
});
export type WireStatement = z.output<typeof WireStatement>;

/** Statements with conditions. */
export const WireBatch = z.object({
  steps: z.array(z.object({ condition: z.unknown().optional(), stmt: WireStatement })),
});
export type WireBatch = z.output<typeof WireBatch>;

const StreamRequest = z.discriminatedUnion('type', [
  z.object({ type: z.literal('close') }),
  z.object({ type: z.literal('execute'), stmt: WireStatement }),
  z.object({ type: z.literal('batch'), batch: WireBatch }),
  z.object({ type: z.literal('sequence'), ...sqlSource }),
  z.object({ type: z.literal('describe'), ...sqlSource }),
  z.object({ type: z.literal('store_sql'), sql_id: z.int(), sql: z.string() }),
  z.object({ type: z.literal('close_sql'), sql_id: z.int() }),
  z.object({ type: z.literal('get_autocommit') }),
]);
/** One request of a pipeline. */
export type StreamRequest = z.output<typeof StreamRequest>;

/** Body of `v2/pipeline` and `v3/pipeline`. */
export const PipelineBody = z.object({
  baton: z.string().nullish(),
  requests: z.array(StreamRequest),
});

/** Body of `v3/cursor`. */
export const CursorBody = z.object({ baton: z.string().nullish(), batch: WireBatch });
