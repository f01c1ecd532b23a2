/** What the statement rules say of one statement. */
export interface StatementClass {
  /** `read`: a read-only connection can run it. `write`: only the writer may. */
  readonly kind: 'read' | 'write';
  /** The keyword that decided, upper case, without EXPLAIN. */
  readonly keyword: string;
  readonly explain: boolean;
  /** Whether it can insert rows, so that lastInsertRowid means something. */
  readonly inserts: boolean;
}

/** To be implemented. */
export function classifyStatement(sql: string): StatementClass {
  throw new TypeError(sql);
}

/** To be implemented. */
export function splitScript(sql: string): readonly string[] {
  throw new TypeError(sql);
}

/** To be implemented. */
export function describeStatement(sql: string, maxLength = 80): string {
  throw new TypeError(sql + maxLength);
}
