/** What can go wrong on a board besides the errors of the store itself (those are OnewriterError). */
export type KanbanErrorCode = 'INVALID' | 'NOT_FOUND' | 'BOARD_FULL' | 'CONFLICT';

const STATUS = { INVALID: 400, NOT_FOUND: 404, BOARD_FULL: 409, CONFLICT: 409 } as const;

/** An answer to the person at the board: a code, and a sentence that says what to do. */
export class KanbanError extends Error {
  override readonly name = 'KanbanError';
  readonly code: KanbanErrorCode;

  constructor(code: KanbanErrorCode, message: string) {
    super(message);
    this.code = code;
  }

  /** The HTTP status of the code. */
  get status(): 400 | 404 | 409 {
    return STATUS[this.code];
  }
}

/** `what` (with its id) does not exist, or no longer does. */
export function notFound(what: string): KanbanError {
  return new KanbanError('NOT_FOUND', `There is no such ${what}; it may have been deleted.`);
}
