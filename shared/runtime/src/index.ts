export * from './config.ts';
export * from './logger.ts';
export * from './ready.ts';
export * from './redis.ts';
export * from './token.ts';
