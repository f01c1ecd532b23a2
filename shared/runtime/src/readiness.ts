/*
 * What `GET /readyz` of each process answers: one line per check, so that a person who asks sees which part is wrong.
 *
 *   {"status":"not ready","reasons":["No broker leads."],"checks":{"redis":"ok","broker":"No broker leads."}}
 */

/** Looks at one thing a process depends on. @returns what is wrong, for people; undefined where all is well. */
export type ReadinessCheck = () => string | undefined | Promise<string | undefined>;

/** The outcome of a process's checks. */
export interface ReadinessReport {
  readonly status: 'ready' | 'not ready';
  /** What is wrong, for people; empty when ready. */
  readonly reasons: readonly string[];
  /** By name of the check: `ok`, or what is wrong. */
  readonly checks: Readonly<Record<string, string>>;
}

const TIMEOUT_MS = 1_500;
const REDIS_TIMEOUT_MS = 1_000;

/**
 * Runs `checks` side by side; always answers by its deadline (1.5 s), also where a check does not. Callers at the same
 * time share one look, so that probes, which need no token, load nothing.
 */
export function createReadiness(
  checks: Readonly<Record<string, ReadinessCheck>>,
): () => Promise<ReadinessReport> {
  let looking: Promise<ReadinessReport> | undefined;
  return () => {
    looking ??= look(checks).finally(() => {
      looking = undefined;
    });
    return looking;
  };
}

async function look(checks: Readonly<Record<string, ReadinessCheck>>): Promise<ReadinessReport> {
  const outcomes = await Promise.all(
    Object.entries(checks).map(
      async ([name, check]) => [name, (await runInTime(name, check)) ?? 'ok'] as const,
    ),
  );
  const reasons = outcomes.map(([, outcome]) => outcome).filter(outcome => outcome !== 'ok');
  return {
    status: reasons.length === 0 ? 'ready' : 'not ready',
    reasons,
    checks: Object.fromEntries(outcomes),
  };
}

async function runInTime(name: string, check: ReadinessCheck): Promise<string | undefined> {
  try {
    return await withDeadline(Promise.resolve(check()), TIMEOUT_MS);
  } catch (error) {
    return `The check "${name}" failed: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/**
 * Asks Redis something; a server that accepts the command and stays silent is detected before the whole check ends.
 * @param refusal what is known to be wrong with the server, see redisRefusal()
 */
export async function checkRedis(
  ask: () => Promise<unknown>,
  refusal: () => Error | undefined = () => undefined,
): Promise<string | undefined> {
  try {
    await withDeadline(ask(), REDIS_TIMEOUT_MS);
    return undefined;
  } catch (error) {
    const known = refusal();
    if (known !== undefined) return known.message;
    return `Redis does not answer: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function withDeadline<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
