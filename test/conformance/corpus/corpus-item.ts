/** What a file of a corpus asks for, in order. */
export type CorpusItem =
  | { readonly type: 'statement'; readonly line: number; readonly sql: string }
  /** An empty database from here on. */
  | { readonly type: 'reset'; readonly line: number };

/** A file of a corpus, read. */
export interface CorpusScript {
  readonly items: readonly CorpusItem[];
  /** Statements and commands that cannot be run here, by the reason why. */
  readonly skipped: Readonly<Record<string, number>>;
}

/** Collects what a parser finds. */
export class ScriptCollector implements CorpusScript {
  readonly items: CorpusItem[] = [];
  readonly skipped: Record<string, number> = {};

  add(line: number, sql: string): void {
    this.items.push({ type: 'statement', line, sql });
  }

  /** Two empty databases in a row are one. */
  reset(line: number): void {
    if (this.items.at(-1)?.type === 'statement') this.items.push({ type: 'reset', line });
  }

  skip(reason: string, count = 1): void {
    this.skipped[reason] = (this.skipped[reason] ?? 0) + count;
  }
}
