/*
 * What a read may cost, by SQLite's plan (https://www.sqlite.org/eqp.html):
 *
 *   search  finds rows by keys and indexes
 *   scan    visits each row of a table once, or of a few one after the other; each may search others
 *   costly  visits each row again and again, or has no end that the plan shows
 */

export type ReadCost = 'search' | 'scan' | 'costly';

/** A line of EXPLAIN QUERY PLAN. */
export interface PlanStep {
  readonly id: number;
  readonly parent: number;
  readonly detail: string;
}

const LOOP = /^(?:SCAN|SEARCH) /;
/** The schema is small. */
const SCAN = /^SCAN (?!CONSTANT ROW|sqlite_(?:schema|master)\b)/;
/** Its table may be a function of the outer row, as json_each is. */
const VIRTUAL = / VIRTUAL TABLE /;
const ONE_ROW = /^SEARCH .* USING INTEGER PRIMARY KEY \(rowid=\?\)$/;

/** Says what a plan costs. */
export function judgePlan(steps: readonly PlanStep[]): ReadCost {
  const byId = new Map(steps.map(step => [step.id, step]));
  const looped = new Set<number>();
  let cost: ReadCost = 'search';
  for (const { parent, detail } of steps) {
    if (detail === 'RECURSIVE STEP') return 'costly';
    if (SCAN.test(detail)) {
      const isInner = looped.has(parent) || runsPerRow(parent, byId);
      if (isInner && !VIRTUAL.test(detail)) return 'costly';
      cost = 'scan';
    }
    if (LOOP.test(detail) && !ONE_ROW.test(detail) && detail !== 'SCAN CONSTANT ROW') looped.add(parent);
  }
  return cost;
}

/** Whether it stands in a subquery that runs for each row of an outer one. */
function runsPerRow(id: number, byId: ReadonlyMap<number, PlanStep>): boolean {
  for (let step = byId.get(id); step !== undefined; step = byId.get(step.parent)) {
    if (step.detail.startsWith('CORRELATED ')) return true;
  }
  return false;
}
