import { setTimeout as pause } from 'node:timers/promises';
import { ERROR_CODES } from '@onewriter/protocol';
import type { Step, StepsAnswer, Tenant } from '@onewriter/sdk';
import { type GivenAnswer, monotonicMs } from './journal.ts';
import type { OperationStatement } from './operation.ts';

/** Sends statements as libSQL's clients send a batch: BEGIN, each on the success of the one before, COMMIT or ROLLBACK. */
export async function commitSteps(
  tenant: Tenant,
  statements: readonly OperationStatement[],
  timeoutMs: number,
): Promise<GivenAnswer> {
  const chain = [{ sql: 'BEGIN' }, ...statements, { sql: 'COMMIT' }];
  const steps: Step[] = chain.map((statement, index) => ({
    ...statement,
    ...(index === 0 ? {} : { condition: { type: 'ok', step: index - 1 } }),
  }));
  const committed = { type: 'ok', step: chain.length - 1 } as const;
  steps.push({ sql: 'ROLLBACK', condition: { type: 'not', cond: committed } });
  const answer = await tenant.steps({ steps }, { timeoutMs });
  const failure = firstError(answer);
  return failure ?? { outcome: 'committed', commitSeq: answer.commitSeq };
}

/** The same over several requests, with time to think in between. */
export async function commitOpen(
  tenant: Tenant,
  statements: readonly OperationStatement[],
  timeoutMs: number,
  thinkMs: number,
): Promise<GivenAnswer> {
  const due = monotonicMs() + timeoutMs;
  const left = () => ({ timeoutMs: Math.max(Math.ceil(due - monotonicMs()), 1) });
  const [first, ...rest] = statements;
  const begin = [{ sql: 'BEGIN IMMEDIATE' }, first!];
  let answer = await tenant.steps({ steps: begin, interactive: true }, left());
  const requests = [...rest.slice(0, -1).map(statement => [statement]), [rest.at(-1)!, { sql: 'COMMIT' }]];
  for (const steps of requests) {
    const failure = firstError(answer);
    const transaction = answer.transaction?.id;
    if (failure !== undefined || transaction === undefined) return failure ?? lost();
    await pause(thinkMs);
    answer = await tenant.steps({ steps, transaction, interactive: true }, left());
  }
  return firstError(answer) ?? { outcome: 'committed', commitSeq: answer.commitSeq };
}

/** No step failed, and yet no transaction is open. */
function lost(): GivenAnswer {
  return { outcome: 'failed', code: 'INTERNAL', retryable: false };
}

function firstError({ results }: StepsAnswer): GivenAnswer | undefined {
  for (const result of results) {
    if (result.type !== 'error') continue;
    const { code } = result.error;
    return { outcome: 'failed', code, retryable: ERROR_CODES[code].retryable };
  }
  return undefined;
}
