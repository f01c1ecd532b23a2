const PROBE_TIMEOUT_MS = 1_000;

/** Whether the broker at `url` says that it leads; one that does not answer within a second does not. */
export async function isLeading(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
    return ((await response.json()) as { state?: unknown }).state === 'leading';
  } catch {
    return false; // it is not there, or does not serve
  }
}
