export * from './broker.ts';
export * from './dead-letters.ts';
export * from './finished-jobs.ts';
export * from './inbox-events.ts';
export * from './redis-link.ts';
export * from './tenant-queue.ts';
