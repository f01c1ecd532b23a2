import { OnewriterError } from '@onewriter/protocol';

/** A leader that was killed keeps the lease for a moment (ONEWRITER_LEASE_MS); that is the longest usual wait. */
const TIMEOUT_MS = 30_000;
const PROBE_TIMEOUT_MS = 5_000;
const PAUSE_MS = 50;

/**
 * Waits until `<url>/readyz` says yes: a process that listens may still wait for a broker that leads.
 *
 * @param name of the process, for the error.
 * @throws OnewriterError MISCONFIGURED with what it answered last, after 30 s; the reason of `signal`.
 */
export async function waitUntilReady(name: string, url: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  for (;;) {
    signal.throwIfAborted();
    const answer = await probe(`${url}/readyz`);
    if (answer === 'ready') return;
    if (performance.now() > deadline) {
      throw new OnewriterError(
        'MISCONFIGURED',
        `The ${name} is not ready after ${TIMEOUT_MS / 1_000} s: ${answer}`,
      );
    }
    await new Promise(resolve => setTimeout(resolve, PAUSE_MS));
  }
}

async function probe(url: string): Promise<string> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
    const body = await response.text();
    return response.ok ? 'ready' : body;
  } catch (error) {
    return (error as Error).message;
  }
}
