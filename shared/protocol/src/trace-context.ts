/*
 * W3C Trace Context, level 1: what ties the spans of one trace together, `00-<trace id>-<span id>-<flags>`.
 * Source: https://www.w3.org/TR/trace-context/#traceparent-header
 */

/** A span that others may be children of; the fields are named as in OpenTelemetry's SpanContext. */
export interface TraceParent {
  /** 32 hexadecimal digits, lower case. */
  readonly traceId: string;
  /** 16 hexadecimal digits, lower case. */
  readonly spanId: string;
  /** Bit 0: the trace is recorded. */
  readonly traceFlags: number;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Writes a `traceparent`. */
export function formatTraceparent({ traceId, spanId, traceFlags }: TraceParent): string {
  return `00-${traceId}-${spanId}-${(traceFlags & 0xff).toString(16).padStart(2, '0')}`;
}

/** Reads a `traceparent`, also of a later version; undefined where it is none: then a trace begins here. */
export function parseTraceparent(text: string | null | undefined): TraceParent | undefined {
  const match = TRACEPARENT.exec(text ?? '');
  if (match === null) return undefined;
  const [, version, traceId, spanId, flags, rest] = match as unknown as [
    string,
    string,
    string,
    string,
    string,
    string?,
  ];
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) };
}
