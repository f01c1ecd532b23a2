import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** What {@link OtherProcess} is asked. */
export type OtherRequest =
  | { readonly what: 'read' | 'settle'; readonly path: string }
  | { readonly what: 'open'; readonly path: string; readonly readonly: boolean; readonly reads: boolean }
  | { readonly what: 'read again' };

/** See other-process.js. */
export interface OtherProcess {
  /** @throws Error with SQLite's message */
  ask(request: OtherRequest): Promise<unknown>;
}

/** Starts it; it ends with the test. */
export function startOther(): OtherProcess {
  const child = fork(join(import.meta.dirname, 'other-process.js'), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  return {
    async ask(request) {
      const answer = once(child, 'message', { signal: AbortSignal.timeout(20_000) });
      child.send(request);
      const [{ value, error }] = (await answer) as [{ value?: unknown; error?: string }];
      if (error !== undefined) throw new Error(error);
      return value;
    },
  };
}
