export * from './chain/replica-reader.ts';
export * from './format/entry.ts';
export * from './ship/messages.ts';
export * from './store/object-store.ts';
