export * from './gateway-app.ts';
export * from './gateway-options.ts';
export * from './health.ts';
export * from './integrity-check.ts';
