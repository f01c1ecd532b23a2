export * from './hold-scripts.ts';
export * from './pause-tenant.ts';
export * from './tenant-holder.ts';
export * from './with-held-tenant.ts';
