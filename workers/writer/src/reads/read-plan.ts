/*
 * What a read may cost, by SQLite's plan (https://www.sqlite.org/eqp.html):
 *
 *   search  finds rows by keys and indexes
 *   range   finds rows on one side of a value, which may be all; costs a scan unless each row that is found is returned
 *   scan    visits each row of a table once, or of a few one after the other; each may search others
 *   costly  visits each row again and again, or has no end that the plan shows
 */

export type ReadCost = 'search' | 'range' | 'scan' | 'costly';

/** A line of EXPLAIN QUERY PLAN. */
export interface PlanStep {
  readonly id: number;
  readonly parent: number;
  readonly detail: string;
}

const LOOP = /^(?:SCAN|SEARCH) /;
/** The schema is small. */
const SCAN = /^SCAN (?!CONSTANT ROW|sqlite_(?:schema|master)\b)/;
const SCHEMA = /^SCAN sqlite_(?:schema|master)\b/;
/** Its table may be a function of the outer row, as json_each is. */
const VIRTUAL = / VIRTUAL TABLE /;
const ONE_ROW = /^SEARCH .* USING INTEGER PRIMARY KEY \(rowid=\?\)$/;
/** An index that SQLite makes of all rows each time, because there is none. */
const AUTOMATIC = /^SEARCH .* USING AUTOMATIC /;
/** All rows on one side of a value. */
const ONE_SIDED = /^SEARCH .*\((?!.*(?:=\?| AND )).*[<>]\?\)/;
/** So many looks at the schema may run for rows of each other: tools look at columns of indexes of tables. */
const MAX_LOOKS = 3;

/** Says what a plan costs. @param onlyLooks its virtual tables are functions that show the schema */
export function judgePlan(steps: readonly PlanStep[], onlyLooks = false): ReadCost {
  const byId = new Map(steps.map(step => [step.id, step]));
  /** Levels with a loop, with one over all rows or those on one side, and how many others are in it. */
  const looped = new Set<number>();
  const scanned = new Set<number>();
  const nested = new Map<number, number>();
  let cost: ReadCost = 'search';
  for (const { parent, detail } of steps) {
    if (detail === 'RECURSIVE STEP') return 'costly';
    const outer = outerLevels(parent, byId);
    const runsPerRow = outer.length > 0;
    const isScan = SCAN.test(detail);
    const isOneSided = ONE_SIDED.test(detail);
    if (isScan) {
      if ((looped.has(parent) || runsPerRow) && !VIRTUAL.test(detail)) return 'costly';
      cost = 'scan';
    } else if (AUTOMATIC.test(detail)) {
      if (runsPerRow) return 'costly';
      cost = 'scan';
    } else if (isOneSided) {
      if (scanned.has(parent) || outer.some(level => scanned.has(level))) return 'costly';
      if (looped.has(parent) || runsPerRow) cost = 'scan';
      else if (cost === 'search') cost = 'range';
    }
    if (VIRTUAL.test(detail) || SCHEMA.test(detail)) {
      const inLevel = (nested.get(parent) ?? 0) + 1;
      const inOthers = outer.reduce((sum, level) => sum + (nested.get(level) ?? 0), 0);
      if (inLevel + inOthers > (onlyLooks ? MAX_LOOKS : 1)) return 'costly';
      nested.set(parent, inLevel);
    }
    if (isScan || isOneSided) scanned.add(parent);
    if (LOOP.test(detail) && !ONE_ROW.test(detail) && detail !== 'SCAN CONSTANT ROW') looped.add(parent);
  }
  return cost;
}

/** The levels for each of whose rows it runs, because it stands in correlated subqueries. */
function outerLevels(level: number, byId: ReadonlyMap<number, PlanStep>): readonly number[] {
  const levels: number[] = [];
  for (let step = byId.get(level); step !== undefined; step = byId.get(step.parent)) {
    if (step.detail.startsWith('CORRELATED ')) levels.push(step.parent);
  }
  return levels;
}

/** A step of SQLite's program for a statement (https://www.sqlite.org/opcode.html). */
export interface ProgramStep {
  readonly addr: number;
  readonly opcode: string;
  readonly p2: number;
}

/** These make the columns of a row, or return it. */
const STRAIGHT =
  /^(?:Column|Rowid|IdxRowid|DeferredSeek|S?Copy|Move|Null|Int64|Integer|Real|String8|Blob|Variable|(?:Real)?Affinity|Cast|(?:Pure)?Func(?:tion)?|Add|Subtract|Multiply|Divide|Remainder|Concat|ResultRow|Noop)$/;
/** These end the loop where the range or the LIMIT ends. */
const MAY_END = /^(?:Idx[LG][TE]|[LG][te]|DecrJumpZero)$/;

/** Whether a loop returns each row that it visits: then the rows can be counted, and it be stopped. Not where it sorts, filters or counts them. */
export function returnsEachRow(program: readonly ProgramStep[]): boolean {
  const next = program.find(({ opcode }) => opcode === 'Next' || opcode === 'Prev');
  if (next === undefined) return false;
  const loop = program.slice(next.p2, next.addr);
  return (
    loop.some(({ opcode }) => opcode === 'ResultRow') &&
    loop.every(({ opcode, p2 }) => STRAIGHT.test(opcode) || (MAY_END.test(opcode) && p2 > next.addr))
  );
}
