export { type BatchResults, batch } from './batch.ts';
export { OnewriterDialect, type OnewriterDialectConfig } from './onewriter-dialect.ts';
