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
    if (this.#format === 'ndjson' && this.#lastRecord()?.['onewriter_export'] === undefined) {
      return 'its closing record is missing';
    }
    return undefined;
  }

  #lastRecord(): Record<string, unknown> | undefined {
    const line = this.#tail.toString('utf8').trimEnd().split('\n').at(-1) ?? '';
    try {
      return JSON.parse(line) as Record<string, unknown>;
    } catch {
      return undefined; // cut off in the middle
    }
  }
}
