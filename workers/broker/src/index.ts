export * from './broker.ts';
export * from './queue/dead-letters.ts';
export * from './queue/finished-jobs.ts';
export * from './queue/inbox-events.ts';
export * from './queue/redis-link.ts';
export * from './queue/tenant-queue.ts';
export * from './replica/replica-state.ts';
