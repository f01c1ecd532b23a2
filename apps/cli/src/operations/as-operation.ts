import {
  type NewOperation,
  type OperationContext,
  OperationStore,
  runOperation,
  type Summary,
} from '@onewriter/operations';
import { OnewriterError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { openRedis } from '../open-redis.ts';
import { operatorName } from '../operator.ts';
import type { Target } from '../target.ts';

/** Settings of {@link asOperation}. */
export interface AsOperationOptions<T> {
  readonly summarize: (value: T) => Summary;
  /** Whether standard error is for programs. */
  readonly json?: boolean | undefined;
  /** Whether Redis must not be asked. */
  readonly offline?: boolean | undefined;
  /** Stops it, because this process is to end. */
  readonly signal?: AbortSignal | undefined;
}

/** A command does not wait longer for a server that does not answer. */
const SHORT = Object.freeze({ connectTimeoutMs: 1_000, commandTimeoutMs: 2_000 });

/**
 * Does a command's work as an operation that all processes of the group see. Where Redis is not there the work is done all the
 * same: only a note says that it is not listed. The connection is its own, and made while the work runs.
 * @throws whatever `work` throws
 */
export async function asOperation<T>(
  target: Target,
  operation: Omit<NewOperation, 'who'>,
  { summarize, json = false, offline = false, signal }: AsOperationOptions<T>,
  work: (context: OperationContext) => Promise<T>,
): Promise<T> {
  const opened: Redis[] = [];
  let isOver = false;
  const open = async () => {
    if (offline) throw new OnewriterError('QUEUE_UNAVAILABLE', 'Redis is not asked.');
    for (const redis of opened.splice(0)) redis.disconnect();
    const redis = await openRedis(target, SHORT);
    opened.push(redis);
    if (isOver) redis.disconnect();
    return new OperationStore(redis, target.group);
  };
  const onUnlisted = ({ message }: Error) => {
    if (!json) process.stderr.write(`onewriter: not listed by \`onewriter operations\`: ${message}\n`);
  };
  try {
    return await runOperation(
      { ...operation, who: operatorName() },
      { open, summarize, onUnlisted, signal },
      work,
    );
  } finally {
    isOver = true;
    for (const redis of opened) redis.disconnect();
  }
}
