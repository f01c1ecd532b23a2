export * from './chain/replica-reader.ts';
export * from './format/chain-state.ts';
export * from './format/entry.ts';
export * from './format/keyring.ts';
export * from './format/pack.ts';
export * from './format/segment-body.ts';
export * from './ship/messages.ts';
export * from './store/object-store.ts';
