export * from './error-codes.ts';
export * from './ids.ts';
export * from './limits.ts';
export * from './names.ts';
export * from './onewriter-error.ts';
export * from './statement.ts';
export * from './value.ts';
export * from './write-job.ts';
