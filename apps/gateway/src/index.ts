export * from './gateway-app.ts';
export * from './gateway-options.ts';
export * from './http/health.ts';
export * from './processes/integrity-check.ts';
