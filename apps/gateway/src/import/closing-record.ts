/** The last line of an export, which says that it is whole. */
export interface ClosingRecord {
  /** The one name in it, in case a table has a column of this name. */
  readonly name: string;
  readonly rows: number;
}

const NAME = 'onewriter_export';
const BEGINS = /^\s*\{\s*"onewriter_export"\s*:/;

/** Reads `{"onewriter_export":{"rows":3}}`, in which there may be more. Undefined where a line is none. */
export function readClosingRecord(line: string): ClosingRecord | undefined {
  if (!BEGINS.test(line)) return undefined;
  try {
    const record = JSON.parse(line) as Record<string, { readonly rows?: unknown } | null>;
    const rows = Object.keys(record).length === 1 ? record[NAME]?.rows : undefined;
    return Number.isSafeInteger(rows) ? { name: NAME, rows: Number(rows) } : undefined;
  } catch {
    return undefined;
  }
}
