import { RequestError, StaticError } from './hrana-error.ts';
import { type Attempt, type Classify, classifyPrepared, type PreparedKind } from './prepare-body.ts';

/** SQL texts that a stream keeps at most, and the longest of one. Source: sqld, `MAX_SQL_COUNT`, `MAX_SQL_SIZE` */
const MAX_STORED_TEXTS = 50;
export const MAX_STORED_CHARACTERS = 5_000;

/** The SQL texts of one stream, by the client's numbers. A copy can be changed and dropped again. */
export class SqlStore {
  readonly #texts: Map<number, string>;
  /** What was classified: thousands of steps may name one text. */
  readonly #kinds = new Map<Classify, Map<number, Attempt<readonly PreparedKind[]>>>();

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
    for (const kinds of this.#kinds.values()) kinds.delete(id);
  }

  /** What the statements of a text are that is there. */
  classified(id: number, classify: Classify): Attempt<readonly PreparedKind[]> {
    const known = this.#kinds.get(classify) ?? new Map<number, Attempt<readonly PreparedKind[]>>();
    this.#kinds.set(classify, known);
    const kinds = known.get(id) ?? classifyPrepared(this.#texts.get(id)!, classify);
    known.set(id, kinds);
    return kinds;
  }

  copy(): SqlStore {
    return new SqlStore(this.#texts);
  }
}
