import { OnewriterError } from '@onewriter/protocol';

/** Aborts with ABORTED when a person, or the system, asks this process to end. */
export function stopSignal(): AbortSignal {
  const stopping = new AbortController();
  const stop = () => stopping.abort(new OnewriterError('ABORTED', 'It was stopped before it was done.'));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
  return stopping.signal;
}
