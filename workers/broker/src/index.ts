export * from './broker.ts';
export * from './dead-letters.ts';
