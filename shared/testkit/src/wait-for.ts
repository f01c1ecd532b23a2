/** Options of {@link waitFor}. */
export interface WaitForOptions {
  /** The deadline. Default: 30,000, for machines that run other tests beside. */
  readonly timeoutMs?: number | undefined;
  /** Pause between two looks. Default: 20. */
  readonly intervalMs?: number | undefined;
  /** What is awaited, for the error message. */
  readonly what?: string | undefined;
}

const DEFAULTS = Object.freeze({ timeoutMs: 30_000, intervalMs: 20, what: 'the condition' });

/**
 * Looks at `condition` until it is truthy, and returns what it returned. An error it throws counts as "not yet",
 * so assertions can be awaited too.
 *
 * @throws Error at the deadline, with the condition's last error as `cause`.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitForOptions = {},
): Promise<NonNullable<T>> {
  const { timeoutMs = DEFAULTS.timeoutMs, intervalMs = DEFAULTS.intervalMs, what = DEFAULTS.what } = options;
  const deadline = performance.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      const value = await withDeadline(condition, deadline);
      if (value) return value;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() + intervalMs >= deadline) {
      const reason = lastError instanceof Error ? `: ${lastError.message}` : '';
      throw new Error(`Waited ${timeoutMs} ms for ${what}${reason}`, { cause: lastError });
    }
    await new Promise(resolve => setTimeout(resolve, intervalMs));
  }
}

/** A condition that hangs must not outlive the deadline. */
async function withDeadline<T>(condition: () => T | Promise<T>, deadline: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const left = Math.max(1, deadline - performance.now());
    timer = setTimeout(() => reject(new Error('the condition itself did not answer')), left);
  });
  try {
    return await Promise.race([condition(), late]);
  } finally {
    clearTimeout(timer);
  }
}
