import type { Attachment, Card, Column, Member } from '@onewriter/kanban';
import type { Operation, OperationResult } from './operation.ts';
import type { TenantContent } from './tenant-content.ts';

/** A card without what its place in a list says. */
type ModelCard = Omit<Card, 'commentCount' | 'tags' | 'columnId' | 'position'> & { tags: Set<string> };

interface ModelColumn {
  readonly id: string;
  readonly boardId: string;
  readonly title: string;
  readonly position: number;
  /** Top to bottom: a card's position is its index. */
  readonly cards: ModelCard[];
}

interface ModelComment {
  readonly id: string;
  readonly cardId: string;
  readonly memberId: string | null;
  readonly text: string;
  readonly createdAt: string;
  readonly attachments: readonly Attachment[];
}

/**
 * What a tenant should hold after a list of operations: arrays and maps, no SQL, and none of the code that plans
 * the store's statements, so that the two can disagree.
 *
 * Operations of several actors can be applied one actor after the other where each actor works on boards and
 * settings of its own: what they share (tickets, tags, points, members) does not depend on the order.
 */
export class BoardModel {
  readonly #members = new Map<string, Member>();
  readonly #boards = new Map<string, { id: string; title: string; createdAt: string }>();
  readonly #columns = new Map<string, ModelColumn>();
  readonly #columnOfCard = new Map<string, ModelColumn>();
  readonly #comments = new Map<string, ModelComment>();
  readonly #tags = new Set<string>();
  readonly #points = new Map<string, { memberId: string; year: number; month: number; total: number }>();
  readonly #settings = new Map<string, string>();
  #ticketCounter = 0;

  /** @param result what the store answered; it has a new card's ticket, which only the writer knows. */
  apply(operation: Operation, result: OperationResult = {}): void {
    switch (operation.kind) {
      case 'put-member':
        this.#members.set(operation.id, { id: operation.id, name: operation.name });
        return;
      case 'create-board': {
        const { boardId, title, at } = operation;
        this.#boards.set(boardId, { id: boardId, title, createdAt: at });
        for (const [position, column] of operation.columns.entries()) {
          this.#columns.set(column.id, { ...column, boardId, position, cards: [] });
        }
        return;
      }
      case 'create-card': {
        const { columnId, ...card } = operation.card;
        const column = this.#columns.get(columnId)!;
        this.#ticketCounter++;
        column.cards.unshift({
          ...card,
          boardId: column.boardId,
          ticket: result.ticket ?? this.#ticketCounter,
          createdAt: operation.at,
          updatedAt: operation.at,
          tags: new Set(),
        });
        this.#columnOfCard.set(card.id, column);
        return;
      }
      case 'edit-card':
        this.#updateCard(operation.cardId, { ...operation.fields, updatedAt: operation.at });
        return;
      case 'move-card':
        this.#moveCard(operation.cardId, operation.columnId, operation.position, operation.at);
        return;
      case 'delete-card': {
        const column = this.#columnOfCard.get(operation.cardId)!;
        column.cards.splice(indexOf(column, operation.cardId), 1);
        this.#columnOfCard.delete(operation.cardId);
        for (const comment of this.#comments.values()) {
          if (comment.cardId === operation.cardId) this.#comments.delete(comment.id);
        }
        return;
      }
      case 'comment':
        this.#comments.set(operation.comment.id, { ...operation.comment, createdAt: operation.at });
        return;
      case 'add-tag':
        this.#tags.add(operation.name);
        this.#card(operation.cardId).tags.add(operation.name);
        return;
      case 'remove-tag':
        this.#card(operation.cardId).tags.delete(operation.name);
        return;
      case 'add-points': {
        const { memberId, year, month, points } = operation;
        const key = `${memberId} ${year}-${month}`;
        const total = (this.#points.get(key)?.total ?? 0) + points;
        this.#points.set(key, { memberId, year, month, total });
        return;
      }
      case 'put-setting':
        this.#settings.set(operation.key, operation.value);
        return;
      default:
        throw new TypeError(`Unknown operation ${(operation satisfies never as Operation).kind}.`);
    }
  }

  /** The columns of all boards, with the ids of their cards from top to bottom. */
  columns(): readonly { readonly id: string; readonly cardIds: readonly string[] }[] {
    return Array.from(this.#columns.values(), column => ({
      id: column.id,
      cardIds: column.cards.map(card => card.id),
    }));
  }

  /** What `readTenantContent` should return. */
  content(): TenantContent {
    const columns = Array.from(this.#columns.values());
    return {
      ticketCounter: this.#ticketCounter,
      members: byId(this.#members.values()),
      boards: byId(this.#boards.values()),
      columns: byId(columns.map(({ cards, ...column }): Column => ({ ...column, cardCount: cards.length }))),
      cards: byId(
        columns.flatMap(column =>
          column.cards.map((card, position) => ({
            ...card,
            columnId: column.id,
            position,
            tags: [...card.tags].sort(byText),
          })),
        ),
      ),
      comments: byId(Array.from(this.#comments.values(), ({ attachments: _, ...comment }) => comment)),
      attachments: byId(
        Array.from(this.#comments.values()).flatMap(comment =>
          comment.attachments.map(attachment => ({ ...attachment, commentId: comment.id })),
        ),
      ),
      tags: [...this.#tags].sort(byText),
      points: Array.from(this.#points.values()).sort(
        (a, b) => byText(a.memberId, b.memberId) || a.year - b.year || a.month - b.month,
      ),
      settings: Array.from(this.#settings, ([key, value]) => ({ key, value })).sort((a, b) =>
        byText(a.key, b.key),
      ),
    };
  }

  #card(cardId: string): ModelCard {
    const column = this.#columnOfCard.get(cardId)!;
    return column.cards[indexOf(column, cardId)]!;
  }

  #updateCard(cardId: string, change: Partial<ModelCard>): void {
    const column = this.#columnOfCard.get(cardId)!;
    const index = indexOf(column, cardId);
    column.cards[index] = { ...column.cards[index]!, ...change };
  }

  #moveCard(cardId: string, columnId: string, position: number, at: string): void {
    const source = this.#columnOfCard.get(cardId)!;
    const target = this.#columns.get(columnId)!;
    const before = new Map([...placesOf(source), ...placesOf(target)]);
    const [card] = source.cards.splice(indexOf(source, cardId), 1);
    target.cards.splice(position, 0, card!);
    this.#columnOfCard.set(cardId, target);
    // A drag touches every card that it moves, also those it only pushes aside.
    for (const [id, place] of [...placesOf(source), ...placesOf(target)]) {
      if (before.get(id) !== place) this.#updateCard(id, { updatedAt: at });
    }
  }
}

function indexOf(column: ModelColumn, cardId: string): number {
  return column.cards.findIndex(card => card.id === cardId);
}

function placesOf(column: ModelColumn): [cardId: string, place: string][] {
  return column.cards.map((card, position) => [card.id, `${column.id} ${position}`]);
}

/** SQLite's BINARY collation: by code point; equal to JavaScript's order for the characters used here. */
function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function byId<T extends { readonly id: string }>(items: Iterable<T>): T[] {
  return [...items].sort((a, b) => byText(a.id, b.id));
}
