export { drizzle, OnewriterDatabase } from './drizzle.ts';
export type { DrizzleRunResult } from './drizzle-session.ts';
export { migrate } from './migrate.ts';
