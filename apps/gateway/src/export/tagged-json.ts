import type { JsonValue } from '../dialects/v1/result-shapes.ts';

/** JSON of a tagged value in a file: a whole real is written `5.0`, because an import takes `5` for an integer. */
export function toTaggedJson(value: JsonValue): string {
  return typeof value === 'number' && Number.isInteger(value) ? `${value}.0` : JSON.stringify(value);
}
