export * from './free-port.ts';
export * from './live-handles.ts';
export * from './spawn-process.ts';
export * from './start-redis.ts';
export * from './start-service.ts';
export * from './start-stack.ts';
export * from './temporary-directory.ts';
export * from './wait-for.ts';
