import { OnewriterError, type WireStepsOperation } from '@onewriter/protocol';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { areForeignKeysOff } from './foreign-keys-after.ts';
import { OwnSession, type OwnStepsOptions } from './own-session.ts';
import { type StepSession, StepsRun } from './run-steps.ts';

/** Result of steps. */
export interface OwnStepsResult {
  /** JSON of a WireStepsResult. */
  readonly json: string;
  /** Their last commit_seq; 0: none. */
  readonly commitSeq: number;
  /** A transaction is open now. */
  readonly open: boolean;
  /** The open transaction belongs to these steps. */
  readonly theirs: boolean;
}

/**
 * Runs steps with transactions of their own; continues the open one if it belongs to them.
 * @throws StepsFailed; OnewriterError SNAPSHOT_STALE.
 */
export function runOwnSteps(
  database: TenantDatabase,
  sql: readonly string[],
  op: WireStepsOperation,
  options: OwnStepsOptions,
): OwnStepsResult {
  const { transaction } = database;
  const goesOn = op.tx !== undefined && transaction?.id === op.tx;
  const dead = op.tx !== undefined && !goesOn;
  if (transaction !== undefined && !goesOn) {
    const run = new StepsRun(database, sql, op, new BlockedSession(), options.budgetBytes, dead);
    run.run();
    return { json: run.toJson(run.autocommit), commitSeq: 0, open: true, theirs: false };
  }
  if (!goesOn && options.progress === undefined && op.at !== undefined) {
    const commitSeq = database.ledger.commitSeq();
    // An equal number in another file is another commit.
    const isOther = op.in !== undefined && op.in !== database.incarnation;
    if (isOther || commitSeq !== op.at) throw staleSnapshot(commitSeq);
  }
  // Within an open transaction its counters continue.
  if (!goesOn) database.runner.startAnew(true);
  const session: OwnSession = new OwnSession(database, options, op.fk !== undefined, () => run);
  const run = new StepsRun(database, sql, op, session, options.budgetBytes, dead, options.progress);
  if (!goesOn && areForeignKeysOff(sql, op, options.progress)) session.switchForeignKeysOff();
  run.run();
  session.endGroup();
  const { autocommit } = run;
  const keeps = !session.autocommit && op.i === 1 && options.transaction !== undefined;
  const more = session.toJson();
  if (!keeps) {
    database.rollback();
    return {
      json: run.toJson(autocommit, more),
      commitSeq: session.commitSeq,
      open: false,
      theirs: false,
    };
  }
  const { id, expiresAt } = goesOn ? { ...options.transaction, id: transaction!.id } : options.transaction;
  database.transaction = session.toOpen(id);
  const json = run.toJson(false, `,"tx":{"id":"${id}","until":${expiresAt}}${more}`);
  return { json, commitSeq: session.commitSeq, open: true, theirs: true };
}

/** While another client's transaction is open on the connection, nothing can run. */
class BlockedSession implements StepSession {
  readonly autocommit = true;

  statement(): never {
    throw blocked();
  }

  control(): never {
    throw blocked();
  }
}

function blocked(): OnewriterError {
  return new OnewriterError(
    'TRANSACTION_BUSY',
    'Another transaction is open; send this without the old transaction, to wait for it.',
  );
}

function staleSnapshot(commitSeq: number): OnewriterError {
  return new OnewriterError(
    'SNAPSHOT_STALE',
    'The tenant has committed since the state that the request builds on.',
    { commitSeq },
  );
}
