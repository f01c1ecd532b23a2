/** Where a group's files lie, and how they are opened. */
export interface DataPlace {
  /** Absolute. */
  readonly dataDir: string;
  readonly group: string;
  /** Name of each tenant's database file. */
  readonly dbFile: string;
  /** How long SQLite waits for a lock. */
  readonly busyTimeoutMs: number;
}
