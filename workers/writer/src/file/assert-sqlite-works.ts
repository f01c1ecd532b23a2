import { assertSqliteOpens } from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** For the process that starts the threads, before it stands by. @throws OnewriterError MISCONFIGURED */
export function assertSqliteWorks(): void {
  assertSqliteOpens(() => new Database(':memory:'));
}
