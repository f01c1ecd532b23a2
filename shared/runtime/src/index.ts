export * from './config.ts';
export * from './drain.ts';
export * from './http-server.ts';
export * from './logger.ts';
export * from './ready.ts';
export * from './redis.ts';
export * from './token.ts';
export * from './token-secret.ts';
