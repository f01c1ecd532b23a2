/** Kept of what came last: more than a closing line has. */
const TAIL_BYTES = 64 * 1024;
/** The last line of a dump. */
const COMMIT = 'COMMIT;\n';

/**
 * Looks at how an export ends. The connection says already whether it broke off; a proxy between may hide that, so what
 * came must also end as a whole export does. CSV has no end of its own.
 */
export class ExportEnd {
  readonly #format: string;
  #tail: Buffer = Buffer.alloc(0);

  constructor(format: string) {
    this.#format = format;
  }

  add(chunk: Buffer): void {
    this.#tail =
      chunk.length >= TAIL_BYTES
        ? chunk.subarray(-TAIL_BYTES)
        : Buffer.concat([this.#tail, chunk]).subarray(-TAIL_BYTES);
  }

  /** What is missing; undefined where nothing is. */
  get problem(): string | undefined {
    if (this.#format === 'sql' && !this.#tail.toString('utf8').endsWith(COMMIT)) {
      return 'the dump does not end with COMMIT';
    }
    if (this.#format === 'ndjson' && !this.#hasClosingRecord()) {
      return 'its closing record is missing';
    }
    return undefined;
  }

  /** A row may have a value of this name, but none that is an object with `rows`. */
  #hasClosingRecord(): boolean {
    const line = this.#tail.toString('utf8').trimEnd().split('\n').at(-1) ?? '';
    try {
      const record = JSON.parse(line) as { readonly onewriter_export?: { readonly rows?: unknown } | null };
      return typeof record.onewriter_export?.rows === 'number';
    } catch {
      return false; // cut off in the middle
    }
  }
}
