import type { KanbanStore } from '@onewriter/kanban';
import type { Receipt } from '@onewriter/sdk';
import type { Operation, OperationResult } from './operation.ts';

/** Runs one operation; resolves when it is committed. Writes no activity, see {@link enqueueOperationActivity}. */
export async function applyOperation(store: KanbanStore, operation: Operation): Promise<OperationResult> {
  const { at } = operation;
  switch (operation.kind) {
    case 'put-member':
      await store.members.put({ id: operation.id, name: operation.name });
      return {};
    case 'create-board':
      await store.boards.create(
        { id: operation.boardId, title: operation.title, createdAt: at },
        operation.columns,
      );
      return {};
    case 'create-card':
      return { ticket: await store.cards.create({ ...operation.card, at }) };
    case 'edit-card':
      await store.cards.edit(operation.cardId, operation.fields, at);
      return {};
    case 'move-card':
      await store.cards.move(operation.cardId, operation.columnId, operation.position, at);
      return {};
    case 'delete-card':
      await store.cards.delete(operation.cardId);
      return {};
    case 'comment':
      await store.cards.addComment({ ...operation.comment, at });
      return {};
    case 'add-tag':
      await store.cards.addTag(operation.cardId, operation.name);
      return {};
    case 'remove-tag':
      await store.cards.removeTag(operation.cardId, operation.name);
      return {};
    case 'add-points':
      await store.members.addPoints({
        memberId: operation.memberId,
        year: operation.year,
        month: operation.month,
        total: operation.points,
      });
      return {};
    case 'put-setting':
      await store.settings.put(operation.key, operation.value);
      return {};
    default:
      throw new TypeError(`Unknown operation ${(operation satisfies never as Operation).kind}.`);
  }
}

/**
 * Writes the activity line of one operation without waiting for its commit. The line names actor and seq, so that
 * the log shows the order in which one client's writes were applied.
 */
export function enqueueOperationActivity(store: KanbanStore, operation: Operation): Promise<Receipt> {
  return store.activity.enqueue({
    memberId: null,
    action: operation.kind,
    boardId: operation.kind === 'create-board' ? operation.boardId : null,
    cardId: 'cardId' in operation ? operation.cardId : null,
    details: { actor: operation.actor, seq: operation.seq },
  });
}
