/* A door of its own for what puts a tenant's file in place and takes it away: it loads little. */
export { linkNewFile } from './restore/put-in-place.ts';
export * from './restore/swap-file.ts';
export * from './restore/take-away.ts';
