export * from './catalogue/index.ts';
export * from './holders/index.ts';
export * from './life-cycle.ts';
export * from './state-machine.ts';
