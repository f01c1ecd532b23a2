import type { SqlTokenKind } from './sql-tokens.ts';

/*
 *            EXPLAIN              CREATE                  TRIGGER
 *   start ───────────▶ explain ───────────▶ create ──────────────▶ trigger
 *     │  anything else    │ QUERY PLAN stay   │ TEMP[ORARY] stay     │   ▲
 *     ▼                   ▼ else              ▼ else              ;  ▼   │ anything but END
 *   normal ◀──────────────┴───────────────────┘                   triggerSemicolon ◀──┐ ;
 *     │ ;                                                             │ END           │
 *     ▼                                                               ▼               │
 *   (complete) ◀───────────────────────────────────────────────── triggerEnd          │
 *                                   ;                                 │ anything else │
 *                                                                     └──▶ trigger ───┘
 */
type State = 'start' | 'explain' | 'create' | 'normal' | 'trigger' | 'triggerSemicolon' | 'triggerEnd';

/**
 * Finds where statements end: at a semicolon, but in a trigger's body only at the one after its END. Feed it every
 * token that is not `space`.
 * Source: the state machine of sqlite3_complete() in SQLite's complete.c.
 */
export class StatementBoundary {
  #state: State = 'start';

  /** True until a token of the next statement is seen. */
  get atStart(): boolean {
    return this.#state === 'start';
  }

  /** @param word the token's text where `kind` is `word`, in upper case. @returns whether a statement ends here. */
  accept(kind: SqlTokenKind, word: string): boolean {
    const before = this.#state;
    this.#state = after(before, kind, word);
    return this.#state === 'start' && before !== 'start';
  }
}

function after(state: State, kind: SqlTokenKind, word: string): State {
  if (kind === 'semicolon')
    return state === 'trigger' || state === 'triggerSemicolon' ? 'triggerSemicolon' : 'start';
  const keyword = kind === 'word' ? word : '';
  switch (state) {
    case 'start':
      if (keyword === 'EXPLAIN') return 'explain';
      return keyword === 'CREATE' ? 'create' : 'normal';
    case 'explain':
      if (keyword === 'QUERY' || keyword === 'PLAN') return 'explain';
      return keyword === 'CREATE' ? 'create' : 'normal';
    case 'create':
      if (keyword === 'TEMP' || keyword === 'TEMPORARY') return 'create';
      return keyword === 'TRIGGER' ? 'trigger' : 'normal';
    case 'triggerSemicolon':
      return keyword === 'END' ? 'triggerEnd' : 'trigger';
    case 'triggerEnd':
      return 'trigger';
    default:
      return state;
  }
}
