export * from './ask-branch.ts';
export * from './catalogue/index.ts';
export * from './durability.ts';
export * from './holders/index.ts';
export * from './state-machine.ts';
export * from './tenant-state.ts';
