const BEGINS = /^\s*\{\s*"onewriter_export"\s*:/;

/**
 * Reads the last line of an export, `{"onewriter_export":{"rows":3}}`, in which there may be more: how many rows are in front
 * of it. Undefined for every row, also of a table with a column of this name: no value of a row is an object that has `rows`.
 */
export function readClosingRecord(line: string): number | undefined {
  if (!BEGINS.test(line)) return undefined;
  try {
    const record = JSON.parse(line) as Record<string, { readonly rows?: unknown } | null>;
    const rows = Object.keys(record).length === 1 ? record['onewriter_export']?.rows : undefined;
    return Number.isSafeInteger(rows) ? Number(rows) : undefined;
  } catch {
    return undefined;
  }
}
