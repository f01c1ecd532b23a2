/** Options of {@link formatTable}. */
export interface TableOptions {
  /** Wider cells are cut, so that one long text does not spoil the table. Default: 60. */
  readonly maxCellCharacters?: number | undefined;
}

/**
 * Lays rows out in columns for a terminal. Columns whose cells are all numbers are aligned to the right.
 *
 * @param rows cells as text; `columns` names them, in order.
 */
export function formatTable(
  columns: readonly string[],
  rows: readonly (readonly string[])[],
  options: TableOptions = {},
): string {
  const { maxCellCharacters = 60 } = options;
  const cells = [columns, ...rows].map(row => row.map(cell => fitCell(cell, maxCellCharacters)));
  const widths = columns.map((_, index) => widestCell(cells, index));
  const isNumeric = columns.map(
    (_, index) => rows.length > 0 && rows.every(row => looksNumeric(row[index]!)),
  );
  const format = (row: readonly string[]) =>
    row
      .map((cell, index) => (isNumeric[index] ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!)))
      .join('  ')
      .trimEnd();
  const rule = widths.map(width => '─'.repeat(width)).join('  ');
  return `${[format(cells[0]!), rule, ...cells.slice(1).map(format)].join('\n')}\n`;
}

/** The widest cell, without spreading 100,000 arguments. */
function widestCell(cells: readonly (readonly string[])[], index: number): number {
  let widest = 0;
  for (const row of cells) widest = Math.max(widest, row[index]!.length);
  return widest;
}

function fitCell(text: string, maxCharacters: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters of stored text would drive the terminal
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
  return line.length > maxCharacters ? `${line.slice(0, maxCharacters - 1)}…` : line;
}

function looksNumeric(text: string): boolean {
  return /^-?\d+(\.\d+)?(e[+-]?\d+)?( [KMGT]?i?B)?$/.test(text) || text === 'NULL' || text === '-';
}

/** `1 row`, `2 rows`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
