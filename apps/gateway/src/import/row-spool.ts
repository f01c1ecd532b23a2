import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import type { ImportRow as SentRow } from '@onewriter/sdk';
import { LineSplitter, type TextLine } from './text-lines.ts';

/** A row, and where it stands in the file that it is from. */
export interface SpooledRow extends SentRow {
  readonly line: number;
}

/** What is gathered before it is written. */
const FLUSH_CHARACTERS = 256 * 1024;
/** More could not be written in the time that a transaction has. */
const MAX_CHARACTERS = 2 * 1024 * 1024 * 1024;
/** INSERTs of different columns. */
const MAX_STATEMENTS = 1_000;

/** Rows that wait on the disk, in order, so that their number costs no memory. The caller removes the folder. */
export class RowSpool {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #statements = new Map<string, number>();
  #pending = '';
  #characters = 0;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  static async open(folder: string): Promise<RowSpool> {
    const path = join(folder, 'rows');
    return new RowSpool(path, await open(path, 'wx', 0o600));
  }

  /** @throws OnewriterError PAYLOAD_TOO_LARGE */
  async add({ line, sql, values }: SpooledRow): Promise<void> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#statements.size;
      this.#statements.set(sql, statement);
    }
    // JSON has no line ends of its own.
    const text = `${statement} ${line} ${values}\n`;
    this.#characters += text.length;
    if (this.#characters > MAX_CHARACTERS || this.#statements.size > MAX_STATEMENTS) {
      const message = `An import as one transaction has at most ${MAX_CHARACTERS} characters and ${MAX_STATEMENTS} sets of columns.`;
      throw new OnewriterError('PAYLOAD_TOO_LARGE', message, { line });
    }
    this.#pending += text;
    if (this.#pending.length >= FLUSH_CHARACTERS) await this.#flush();
  }

  /** All rows, in order. */
  async *read(): AsyncGenerator<SpooledRow, void, undefined> {
    await this.#flush();
    const statements = [...this.#statements.keys()];
    const splitter = new LineSplitter(Number.POSITIVE_INFINITY);
    for await (const chunk of createReadStream(this.#path, 'utf8')) {
      const lines: TextLine[] = [];
      splitter.push(chunk, lines);
      for (const { text } of lines) {
        const first = text.indexOf(' ');
        const second = text.indexOf(' ', first + 1);
        yield {
          sql: statements[Number(text.slice(0, first))]!,
          line: Number(text.slice(first + 1, second)),
          values: text.slice(second + 1),
        };
      }
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  async #flush(): Promise<void> {
    const text = this.#pending;
    this.#pending = '';
    if (text !== '') await this.#file.appendFile(text);
  }
}
