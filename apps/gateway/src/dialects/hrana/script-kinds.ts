import { OnewriterError } from '@onewriter/protocol';
import type { StatementKind } from './statement-kind.ts';

/* A script of 1 MB has up to 500,000 statements. Their kinds go from thread to thread, and each request looks at all of them. */

/** More are no script of an application: transactions and savepoints, each in another order. */
const MAX_KINDS = 1_000;
/** The longest run of kinds whose repetition is noticed: a transaction with a few statements and PRAGMAs. */
const MAX_RUN = 8;
/** A run may be repeated once: what it leads to may depend on what was before, and not after it ran twice. */
const COPIES = 2;

/**
 * The kinds of a script's statements, in order, without those that change nothing for how the script is run: reads after a read and
 * writes after a write between two statements that are neither, what is refused after the first that is, and runs that were there twice.
 */
export class ScriptKinds {
  readonly list: StatementKind[] = [];
  /** One for each of `list`. Equal ones are the same string. */
  readonly #keys: string[] = [];
  #isRefused = false;

  /** @throws OnewriterError STATEMENT_TOO_LARGE */
  add(kind: StatementKind): void {
    const key = keyOf(kind);
    if (kind.kind === 'refused') {
      if (this.#isRefused) return;
      this.#isRefused = true;
    } else if (kind.kind === 'statement' && this.#isInSegment(key)) return;
    this.list.push(kind);
    this.#keys.push(key);
    this.#dropRepeated();
    if (this.list.length <= MAX_KINDS) return;
    throw new OnewriterError(
      'STATEMENT_TOO_LARGE',
      `The script changes between transactions, savepoints and statements more than ${MAX_KINDS} times; split it.`,
    );
  }

  /** Whether such a statement is there since the last that is neither read nor write. */
  #isInSegment(key: string): boolean {
    for (let index = this.list.length - 1; index >= 0; index--) {
      if (this.#keys[index] === key) return true;
      const { kind } = this.list[index]!;
      if (kind !== 'statement' && kind !== 'refused') return false;
    }
    return false;
  }

  #dropRepeated(): void {
    const keys = this.#keys;
    for (let run = 1; run <= MAX_RUN && run * (COPIES + 1) <= keys.length; run++) {
      const from = keys.length - run;
      let same = 0;
      while (same < run * COPIES && keys[from + run - 1 - same] === keys[from - 1 - same]) same++;
      if (same < run * COPIES) continue;
      keys.length = from;
      this.list.length = from;
      return;
    }
  }
}

/** All that the kind is looked at for; the names of savepoints are not. */
function keyOf(known: StatementKind): string {
  switch (known.kind) {
    case 'statement':
      return known.statement.kind;
    case 'begin':
      return `begin ${known.mode} ${known.readOnly}`;
    case 'session':
      return `session ${known.usual}`;
    default:
      return known.kind;
  }
}
