import stringWidth from 'string-width';

/** Options of {@link formatTable}. */
export interface TableOptions {
  /** Wider cells are cut, so that one long text does not spoil the table. In columns of the terminal. Default: 60. */
  readonly maxCellWidth?: number | undefined;
}

/** UTF-16 code units that are looked at for a column: a family of emoji has 11 for two. */
const MAX_UNITS_PER_COLUMN = 16;

/** A cell as it is shown, and the columns of the terminal that it takes. */
interface Cell {
  readonly text: string;
  readonly width: number;
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
  const { maxCellWidth = 60 } = options;
  const cells = [columns, ...rows].map(row => row.map(cell => fitCell(cell, maxCellWidth)));
  const widths = columns.map((_, index) => widestCell(cells, index));
  const isNumeric = columns.map(
    (_, index) => rows.length > 0 && rows.every(row => looksNumeric(row[index]!)),
  );
  const format = (row: readonly Cell[]) =>
    row
      .map(({ text, width }, index) => {
        const padding = ' '.repeat(widths[index]! - width);
        return isNumeric[index] ? padding + text : text + padding;
      })
      .join('  ')
      .trimEnd();
  const rule = widths.map(width => '─'.repeat(width)).join('  ');
  return `${[format(cells[0]!), rule, ...cells.slice(1).map(format)].join('\n')}\n`;
}

/** The widest cell, without spreading 100,000 arguments. */
function widestCell(cells: readonly (readonly Cell[])[], index: number): number {
  let widest = 0;
  for (const row of cells) widest = Math.max(widest, row[index]!.width);
  return widest;
}

const PLAIN = /^[\x20-\x7e]*$/;
const characters = new Intl.Segmenter();

function fitCell(text: string, maxWidth: number): Cell {
  // Only the beginning of a text of megabytes is looked at; a character of many code points is cut there at worst.
  const beginning = text.slice(0, maxWidth * MAX_UNITS_PER_COLUMN);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters of stored text would drive the terminal
  const line = beginning.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
  const width = widthOf(line);
  if (width <= maxWidth && beginning.length === text.length) return { text: line, width };
  return cutCell(line, maxWidth - 1);
}

/** The characters that fit before an ellipsis. */
function cutCell(line: string, maxWidth: number): Cell {
  let text = '';
  let width = 0;
  for (const { segment } of characters.segment(line)) {
    const next = width + widthOf(segment);
    if (next > maxWidth) break;
    text += segment;
    width = next;
  }
  return { text: `${text}…`, width: width + 1 };
}

function widthOf(text: string): number {
  return PLAIN.test(text) ? text.length : stringWidth(text, { countAnsiEscapeCodes: true });
}

function looksNumeric(text: string): boolean {
  return /^-?\d+(\.\d+)?(e[+-]?\d+)?( [KMGT]?i?B)?$/.test(text) || text === 'NULL' || text === '-';
}

/** `1 row`, `2 rows`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
