import { type Attachment, type CardFields, PRIORITIES } from '@onewriter/kanban';
import { BoardModel } from './board-model.ts';
import type { Operation, OperationBody } from './operation.ts';
import { createRandom, type Random } from './random.ts';

/** What a stream of operations is made from; equal options make equal streams. */
export interface WorkloadOptions {
  readonly seed: number;
  /** Prefix of all ids, so that the boards of two actors in one tenant are apart. */
  readonly actor: string;
  /** Operations after the set-up. */
  readonly operations: number;
  readonly boards?: number | undefined;
  /** Cards on each board before the load begins, most of them in its first column, so that drags are long. */
  readonly cardsPerBoard?: number | undefined;
}

const DEFAULTS = Object.freeze({ boards: 1, cardsPerBoard: 20 });

/**
 * How often each operation comes, in percent. The source publishes no production ratio; this follows the shapes
 * that it names as typical (drag, create, comment, edit of a whole row) and the number of its endpoints: more
 * updates than inserts, few deletes. Source: the kanban app easy-kanban, its 98 write endpoints.
 */
const OPERATION_WEIGHTS = Object.freeze({
  'edit-card': 28,
  'move-card': 22,
  'create-card': 14,
  comment: 14,
  'add-points': 8,
  'add-tag': 6,
  'remove-tag': 2,
  'delete-card': 3,
  'put-setting': 3,
});

/** Members and tags are the same for all actors: they meet there. */
const MEMBERS = ['Ada', 'Björn', 'Chiara', '大輔', 'Eve O’Neill'] as const;
const TAGS = ['bug', 'feature', 'chore', 'später', 'blocked', 'ui', 'api'] as const;
const COLUMNS = ['To do', 'In progress', 'Review', 'Done'] as const;
const WORDS = [
  ...['fix', 'the', 'import', 'of', 'invoices', 'when', 'a', 'row', 'has', 'no', 'date', 'and', 'show'],
  ...['“quoted”', "it's", 'naïve', '日本語', '🎉', 'line\nbreak', ';', '--', '100%', '<b>html</b>'],
] as const;
const EPOCH_MS = Date.UTC(2026, 0, 1);

/** The operations of one actor on one tenant: members and boards first, then the load. */
export function* generateWorkload(options: WorkloadOptions): Generator<Operation, void, undefined> {
  const { actor, operations, seed } = options;
  const boards = options.boards ?? DEFAULTS.boards;
  const cardsPerBoard = options.cardsPerBoard ?? DEFAULTS.cardsPerBoard;
  const random = createRandom(seed);
  const model = new BoardModel(); // knows which cards there are, and where
  let seq = 0;
  const next = (body: OperationBody): Operation => {
    seq++;
    const operation = { ...body, actor, seq, at: new Date(EPOCH_MS + seq * 1_000).toISOString() };
    model.apply(operation);
    return operation;
  };
  const newId = (what: string) => `${actor}-${what}-${String(seq + 1).padStart(6, '0')}`;

  for (const [index, name] of MEMBERS.entries()) yield next({ kind: 'put-member', id: `m${index}`, name });
  for (let board = 0; board < boards; board++) {
    const boardId = newId('board');
    const columns = COLUMNS.map((title, index) => ({ id: `${boardId}-column-${index}`, title }));
    yield next({ kind: 'create-board', boardId, title: `Board ${board} of ${actor}`, columns });
    for (let card = 0; card < cardsPerBoard; card++) {
      const column = card % 10 === 9 ? random.pick(columns) : columns[0]!;
      yield next(createCard(random, newId('card'), column.id));
    }
  }
  for (let count = 0; count < operations; count++) yield next(pickOperation(random, model, newId, actor));
}

function pickOperation(
  random: Random,
  model: BoardModel,
  newId: (what: string) => string,
  actor: string,
): OperationBody {
  const columns = model.columns();
  const cardIds = columns.flatMap(column => column.cardIds);
  const kind = random.weighted(OPERATION_WEIGHTS);
  if (kind === 'create-card' || cardIds.length === 0) {
    return createCard(random, newId('card'), random.pick(columns).id);
  }
  const cardId = random.pick(cardIds);
  switch (kind) {
    case 'edit-card':
      return { kind, cardId, fields: someFields(random) };
    case 'move-card': {
      const source = columns.find(column => column.cardIds.includes(cardId))!;
      // A third stays in its column; ids name a card's board, and drags do not leave it.
      const target =
        random.integer(3) === 0
          ? source
          : random.pick(columns.filter(column => boardOf(column.id) === boardOf(source.id)));
      const places = target === source ? target.cardIds.length : target.cardIds.length + 1;
      return { kind, cardId, columnId: target.id, position: random.integer(places) };
    }
    case 'comment': {
      const id = newId('comment');
      const attachments = Array.from({ length: Math.max(0, random.integer(6) - 2) }, (_, index) =>
        someAttachment(random, `${id}-file-${index}`),
      );
      return {
        kind,
        comment: { id, cardId, memberId: someMember(random), text: someText(random, 40), attachments },
      };
    }
    case 'add-points':
      return {
        kind,
        memberId: someMember(random) ?? 'm0',
        year: 2026,
        month: 1 + random.integer(3),
        points: 1 + random.integer(10),
      };
    case 'add-tag':
    case 'remove-tag':
      return { kind, cardId, name: random.pick(TAGS) };
    case 'delete-card':
      return { kind, cardId };
    case 'put-setting':
      return { kind, key: `${actor}.theme`, value: random.pick(['light', 'dark', 'system']) };
    default:
      throw new TypeError(`Unknown kind ${kind satisfies never}.`);
  }
}

function boardOf(columnId: string): string {
  return columnId.slice(0, columnId.lastIndexOf('-column-'));
}

function createCard(random: Random, id: string, columnId: string): OperationBody {
  return { kind: 'create-card', card: { id, columnId, ...someFields(random) } };
}

function someFields(random: Random): CardFields {
  return {
    title: someText(random, 8),
    description: random.integer(3) === 0 ? '' : someText(random, 60),
    memberId: someMember(random),
    priority: random.pick(PRIORITIES),
    effort: random.integer(4) === 0 ? null : random.integer(13),
    dueDate: random.integer(2) === 0 ? null : `2026-0${1 + random.integer(9)}-${10 + random.integer(18)}`,
  };
}

function someMember(random: Random): string | null {
  return random.integer(5) === 0 ? null : `m${random.integer(MEMBERS.length)}`;
}

function someText(random: Random, maxWords: number): string {
  return Array.from({ length: 1 + random.integer(maxWords) }, () => random.pick(WORDS)).join(' ');
}

function someAttachment(random: Random, id: string): Attachment {
  const type = random.pick(['image/png', 'application/pdf', 'text/plain']);
  return {
    id,
    name: `${random.pick(WORDS)}.${type.split('/')[1]}`,
    url: `/files/${id}`,
    type,
    sizeBytes: random.integer(10_000_000),
  };
}
