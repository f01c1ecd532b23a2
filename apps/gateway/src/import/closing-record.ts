const BEGINS = /^\s*\{\s*"onewriter_export"\s*:/;
/** As an export writes it: the number comes first. */
const BEGINS_WITH_ROWS = /^\s*\{\s*"onewriter_export"\s*:\s*\{\s*"rows"\s*:\s*(\d{1,15})\s*[,}]/;
/** A longer line is not parsed: it could take seconds. That of an export which leaves out very many tables is long. */
const MAX_PARSED_CHARACTERS = 16 * 1024;

/**
 * Reads the last line of an export, `{"onewriter_export":{"rows":3}}`, in which there may be more: how many rows are in front
 * of it. Undefined for every row, also of a table with a column of this name: no value of a row is an object that has `rows`.
 */
export function readClosingRecord(line: string): number | undefined {
  if (!BEGINS.test(line)) return undefined;
  if (line.length > MAX_PARSED_CHARACTERS) {
    const [, rows] = BEGINS_WITH_ROWS.exec(line) ?? [];
    return rows === undefined ? undefined : Number(rows);
  }
  try {
    const record = JSON.parse(line) as Record<string, { readonly rows?: unknown } | null>;
    const rows = Object.keys(record).length === 1 ? record['onewriter_export']?.rows : undefined;
    return Number.isSafeInteger(rows) ? Number(rows) : undefined;
  } catch {
    return undefined;
  }
}
