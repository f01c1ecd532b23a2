export * from './operation.ts';
export * from './operation-store.ts';
export * from './run-operation.ts';
export * from './watch-operation.ts';
