import { classifyStep } from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { compileStatement } from '../batch/statement-cache.ts';

/**
 * Compiles a step and does not run it.
 * @returns JSON of a WireStepDone
 * @throws as `compileStatement`
 */
export function describeStep(db: Database, sql: string, startedMs: number): string {
  const step = classifyStep(sql);
  // Compiling it would set it for all callers; it has no columns.
  if (step.kind === 'session') return `{"r":[0,0],"ms":${elapsed(startedMs)},"ro":1}`;
  // Not from the cache: a cached statement has the columns of an older schema until it runs again.
  const statement = step.kind === 'statement' ? compileStatement(db, sql).statement : db.prepare(sql);
  const names = statement.reader ? statement.columns().map(({ name }) => name) : undefined;
  const result = names === undefined ? '[0,0]' : `{"c":${JSON.stringify(names)},"r":[],"n":0,"i":0}`;
  const types = names === undefined ? '' : typesOf(statement);
  return `{"r":${result}${types},"ms":${elapsed(startedMs)},"ro":${statement.readonly ? 1 : 0}}`;
}

/** The member of a WireStepDone for the declared types of columns. */
export function typesOf(statement: Statement<unknown[]>): string {
  return `,"d":${JSON.stringify(statement.columns().map(({ type }) => type))}`;
}

/** ms, to the microsecond. */
export function elapsed(startedMs: number): number {
  return Math.round((performance.now() - startedMs) * 1_000) / 1_000;
}
