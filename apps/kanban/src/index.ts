export type * from './board.ts';
export { MAX_CARDS_PER_BOARD, PRIORITIES } from './board.ts';
export { KanbanError, type KanbanErrorCode } from './kanban-error.ts';
export { migrate } from './migrate.ts';
export { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';
export { KanbanStore } from './store/kanban-store.ts';
