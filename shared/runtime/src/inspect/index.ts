export * from './check-integrity.ts';
export * from './find-broken-objects.ts';
export * from './inspected-database.ts';
export * from './schema-probes.ts';
