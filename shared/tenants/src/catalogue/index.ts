export * from './parked-tenant.ts';
export * from './paused-findings.ts';
export * from './still-walk.ts';
export * from './tenant-catalogue.ts';
export * from './tenant-facts.ts';
export * from './tenant-folders.ts';
