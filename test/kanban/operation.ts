import type { Attachment, CardFields, NewCard, NewComment } from '@onewriter/kanban';

/*
 * What people do on boards, as data: the load of tests and benchmarks is a list of these, and the model applies
 * the same list.
 */

/** One thing that one person does. */
export type Operation = OperationBody & {
  /** Who does it: one client's operations on a tenant carry one actor. */
  readonly actor: string;
  /** Counts the actor's operations on the tenant, from 1. */
  readonly seq: number;
  /** ISO time. */
  readonly at: string;
};

export type OperationBody =
  | { readonly kind: 'put-member'; readonly id: string; readonly name: string }
  | {
      readonly kind: 'create-board';
      readonly boardId: string;
      readonly title: string;
      readonly columns: readonly { readonly id: string; readonly title: string }[];
    }
  | { readonly kind: 'create-card'; readonly card: Omit<NewCard, 'at'> }
  | { readonly kind: 'edit-card'; readonly cardId: string; readonly fields: CardFields }
  | {
      readonly kind: 'move-card';
      readonly cardId: string;
      readonly columnId: string;
      readonly position: number;
    }
  | { readonly kind: 'delete-card'; readonly cardId: string }
  | {
      readonly kind: 'comment';
      readonly comment: Omit<NewComment, 'at' | 'attachments'> & {
        readonly attachments: readonly Attachment[];
      };
    }
  | { readonly kind: 'add-tag'; readonly cardId: string; readonly name: string }
  | { readonly kind: 'remove-tag'; readonly cardId: string; readonly name: string }
  | {
      readonly kind: 'add-points';
      readonly memberId: string;
      readonly year: number;
      readonly month: number;
      readonly points: number;
    }
  | { readonly kind: 'put-setting'; readonly key: string; readonly value: string };

/** What an operation answered. */
export interface OperationResult {
  /** For `create-card`: the ticket number it got. */
  readonly ticket?: number | undefined;
}
