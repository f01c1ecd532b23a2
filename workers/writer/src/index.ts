export * from './apply-batch.ts';
export * from './internal-tables.ts';
export * from './lane-task.ts';
export * from './ledger-index.ts';
export * from './progress.ts';
export * from './tenant-database.ts';
export * from './writer-lane.ts';
export * from './writer-thread-url.ts';
