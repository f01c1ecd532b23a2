import Database from 'better-sqlite3';

/** Whether a process is in the middle of a write transaction on a database. */
export function isWriteLocked(file: string): boolean {
  const db = new Database(file, { timeout: 0, fileMustExist: true });
  try {
    db.exec('BEGIN IMMEDIATE; ROLLBACK');
    return false;
  } catch (error) {
    if ((error as { code?: string }).code === 'SQLITE_BUSY') return true;
    throw error;
  } finally {
    db.close();
  }
}
