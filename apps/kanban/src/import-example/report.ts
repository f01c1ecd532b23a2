import type { Verification } from './verify-table.ts';

/** How one table went. */
export interface TableReport {
  readonly table: string;
  readonly tenant: string;
  readonly importMs: number;
  readonly verification: Verification;
}

/** The table that people read, and a line that says whether all is well. */
export function formatReport(
  reports: readonly TableReport[],
  { dataDir, reads }: { readonly dataDir: string; readonly reads: string },
): string {
  const header = ['tenant', 'rows', 'in the file', 'rows/s', 'SHA-256 of the content', 'types', 'result'];
  const lines = reports.map(({ tenant, importMs, verification }) => {
    const { sourceRows, storedRows, sourceHash, storedHash, wrongTypes, ok } = verification;
    return [
      tenant,
      String(sourceRows),
      String(storedRows),
      String(Math.round(sourceRows / (importMs / 1_000))),
      sourceHash === storedHash
        ? sourceHash.slice(0, 16)
        : `${sourceHash.slice(0, 16)} ≠ ${storedHash.slice(0, 16)}`,
      wrongTypes.length === 0 ? 'kept' : `changed: ${wrongTypes.join(', ')}`,
      ok ? 'same' : 'DIFFERENT',
    ];
  });
  const widths = header.map((title, column) =>
    Math.max(title.length, ...lines.map(line => line[column]!.length)),
  );
  const format = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        isNumber(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join('  ')
      .trimEnd();
  const total = reports.reduce((sum, report) => sum + report.verification.sourceRows, 0);
  const totalMs = reports.reduce((sum, report) => sum + report.importMs, 0);
  const different = reports.filter(report => !report.verification.ok).length;
  return [
    '',
    format(header),
    ...lines.map(format),
    '',
    `${total} rows in ${(totalMs / 1_000).toFixed(1)} s, each a write of its own; read back by ${reads} from ${dataDir}.`,
    different === 0
      ? 'Every row is there, with its type.'
      : `${different} of ${reports.length} tables DIFFER.`,
  ].join('\n');
}

/** Columns that are aligned to the right. */
function isNumber(column: number): boolean {
  return column >= 1 && column <= 3;
}
