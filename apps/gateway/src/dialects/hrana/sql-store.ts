import { RequestError, StaticError } from './hrana-error.ts';

/** SQL texts that a stream keeps at most, and the longest of one. Source: sqld, `MAX_SQL_COUNT`, `MAX_SQL_SIZE` */
export const MAX_STORED_TEXTS = 50;
export const MAX_STORED_CHARACTERS = 5_000;

/** The SQL texts of one stream, by the client's numbers. A copy can be changed and dropped again. */
export class SqlStore {
  readonly #texts: Map<number, string>;

  constructor(texts: Iterable<readonly [number, string]> = []) {
    this.#texts = new Map(texts);
  }

  /** Length of all texts. */
  get characters(): number {
    let characters = 0;
    for (const text of this.#texts.values()) characters += text.length;
    return characters;
  }

  get size(): number {
    return this.#texts.size;
  }

  get(id: number): string | undefined {
    return this.#texts.get(id);
  }

  /** @throws RequestError SQL_STORE_TOO_MANY, StaticError */
  add(id: number, sql: string): void {
    if (this.#texts.has(id)) {
      throw new StaticError(`The stream has an SQL text ${id} already.`);
    }
    if (this.#texts.size >= MAX_STORED_TEXTS || sql.length > MAX_STORED_CHARACTERS) {
      throw new RequestError(
        'SQL_STORE_TOO_MANY',
        `A stream keeps up to ${MAX_STORED_TEXTS} SQL texts of up to ${MAX_STORED_CHARACTERS} characters.`,
      );
    }
    this.#texts.set(id, sql);
  }

  /** Does nothing for one that is not there. */
  remove(id: number): void {
    this.#texts.delete(id);
  }

  copy(): SqlStore {
    return new SqlStore(this.#texts);
  }
}
