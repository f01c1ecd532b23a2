import { setTimeout as pause } from 'node:timers/promises';
import { isEnded, type OperationWithLog } from './operation.ts';
import type { OperationStore } from './operation-store.ts';

/** A process renews its record once a second; more looks would see nothing more. */
const LOOK_EVERY_MS = 500;

/** What changed. */
export interface OperationChange {
  readonly operation: OperationWithLog;
  /** Lines that came since the change before. */
  readonly newLines: readonly string[];
}

/**
 * Follows an operation: as it is now, each change, and its end, after which it ends.
 * @param signal ends it early, without an error
 * @throws OnewriterError NOT_FOUND; Error of Redis
 */
export async function* watchOperation(
  store: OperationStore,
  id: string,
  signal: AbortSignal,
): AsyncGenerator<OperationChange, void, undefined> {
  let seen = '';
  let logged = 0;
  while (!signal.aborted) {
    const operation = await store.get(id);
    const text = JSON.stringify(operation);
    if (text !== seen) {
      const count = Math.min(operation.logged - logged, operation.log.length);
      const newLines = count > 0 ? operation.log.slice(-count) : [];
      seen = text;
      logged = operation.logged;
      yield { operation, newLines };
    }
    if (isEnded(operation.state)) return;
    await pause(LOOK_EVERY_MS, undefined, { signal }).catch(ignoreAbort);
  }
}

function ignoreAbort(error: unknown): void {
  if ((error as Error).name !== 'AbortError') throw error;
}
