/*
 * What is on a board. Ids are made by the caller (a UUID, for example), so that a request sent twice meets the
 * primary key instead of making a second card. Times are ISO 8601 text in UTC.
 *
 *   tenant ─┬─ boards ── columns ── cards ─┬─ comments ── attachments
 *           │                              └─ tags
 *           ├─ members ── points per month
 *           ├─ activity
 *           └─ settings
 */

export const PRIORITIES = ['low', 'normal', 'high'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** Cards on one board. It bounds a drag: at most every card of two columns gets a new position. */
export const MAX_CARDS_PER_BOARD = 500;

export interface Member {
  readonly id: string;
  readonly name: string;
}

export interface Board {
  readonly id: string;
  readonly title: string;
  readonly createdAt: string;
}

export interface Column {
  readonly id: string;
  readonly boardId: string;
  readonly title: string;
  /** From 0, left to right. */
  readonly position: number;
  /** Kept by triggers in the database. */
  readonly cardCount: number;
}

/** What people edit on a card. */
export interface CardFields {
  readonly title: string;
  readonly description: string;
  readonly memberId: string | null;
  readonly priority: Priority;
  /** Estimate, in the team's own unit. */
  readonly effort: number | null;
  /** ISO date, `2026-11-30`. */
  readonly dueDate: string | null;
}

/** The fields to change; those that are missing or undefined stay as they are. */
export type CardChange = { readonly [Name in keyof CardFields]?: CardFields[Name] | undefined };

/** Where a card is. */
export interface CardPlace {
  readonly id: string;
  readonly columnId: string;
  /** From 0, top to bottom. */
  readonly position: number;
}

export interface NewCard extends CardFields {
  readonly id: string;
  readonly columnId: string;
  readonly at: string;
}

export interface Card extends CardFields, CardPlace {
  readonly boardId: string;
  /** Unique in the tenant, from 1, in order of creation. */
  readonly ticket: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** In alphabetical order. */
  readonly tags: readonly string[];
  readonly commentCount: number;
}

export interface Attachment {
  readonly id: string;
  readonly name: string;
  readonly url: string;
  /** Media type. */
  readonly type: string;
  readonly sizeBytes: number;
}

export interface NewComment {
  readonly id: string;
  readonly cardId: string;
  readonly memberId: string | null;
  readonly text: string;
  readonly at: string;
  readonly attachments: readonly Attachment[];
}

export interface Comment {
  readonly id: string;
  readonly memberId: string | null;
  readonly text: string;
  readonly createdAt: string;
  readonly attachments: readonly Attachment[];
}

/** A board with everything that its page shows. */
export interface BoardView extends Board {
  /** Left to right. */
  readonly columns: readonly Column[];
  /** By column, top to bottom. */
  readonly cards: readonly Card[];
}

export interface CardView extends Card {
  /** Oldest first. */
  readonly comments: readonly Comment[];
}

/** A line of the activity log, to be written. */
export interface NewActivity {
  readonly memberId: string | null;
  readonly action: string;
  readonly boardId: string | null;
  readonly cardId: string | null;
  /** JSON-serialisable. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

export interface Activity {
  /** Grows in the order of the writes. */
  readonly id: number;
  readonly memberId: string | null;
  readonly memberName: string | null;
  readonly action: string;
  readonly boardId: string | null;
  readonly cardId: string | null;
  /** Title of the card, as long as it exists. */
  readonly cardTitle: string | null;
  readonly details: Readonly<Record<string, unknown>>;
  /** `YYYY-MM-DD HH:MM:SS`, UTC: the writer's clock. */
  readonly createdAt: string;
}

export interface Points {
  readonly memberId: string;
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly total: number;
}
