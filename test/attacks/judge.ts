import type { Attack, Outcome } from './rig.ts';

/** Bounds of a run. */
export interface Bounds {
  /** The honest tenants' p99 beside the quiet one. */
  readonly ratio: number;
  /** Below it the ratio says nothing: a pause of the machine, in ms. */
  readonly leastMs: number;
  /** The p99 of honest requests with a large body, in ms. */
  readonly largeMs: number;
  /** Beside the time that an attack's documented answer takes ({@link Attack.stallMs}): a start is slower on a busy machine. */
  readonly stallRatio: number;
  /** What a process and its children may take, in MiB. */
  readonly mib: Readonly<Record<string, number>>;
}

/** What a reading process has of files, which it shares with others and which its limit does not count. */
export const MAPPED_MIB = 128;

/** The memory that docs/operations.md ("Size") gives beside hostile tenants: in the gateway's are four processes of reads and one more. */
export const BOUNDS: Bounds = Object.freeze({
  ratio: 3,
  leastMs: 50,
  largeMs: 1_000,
  stallRatio: 1,
  mib: Object.freeze({
    ...{ broker: 1_024, gateway: 500 + 4 * 768 + 768, dashboard: 300, redis: 1_024 },
    child: 768 + MAPPED_MIB,
  }),
});

/** What is wrong with a run, in sentences; none where all is well. */
export function judge(attacks: readonly Attack[], outcome: Outcome, bounds: Bounds = BOUNDS): string[] {
  const { quiet, attacked, peakMib, replaced } = outcome;
  const problems: string[] = [];
  const stallMs = Math.max(0, ...attacks.map(attack => attack.stallMs ?? 0));
  const most = Math.max(bounds.leastMs, quiet.p99 * bounds.ratio, stallMs * bounds.stallRatio);
  if (attacked.p99 > most)
    problems.push(
      `p99 of the honest tenants ${attacked.p99.toFixed(0)} ms, quiet ${quiet.p99.toFixed(1)} ms`,
    );
  for (const { name, worstMs } of attacks)
    if (worstMs !== undefined && attacked.worst > worstMs * bounds.stallRatio)
      problems.push(
        `an honest request waited for ${attacked.worst.toFixed(0)} ms beside ${name}, ${worstMs} are documented`,
      );
  const mostLarge = Math.max(bounds.largeMs, stallMs * bounds.stallRatio);
  if (attacked.largeP99 > mostLarge)
    problems.push(`p99 of the honest tenants' large bodies ${attacked.largeP99.toFixed(0)} ms`);
  const totalStallMs = attacks.reduce((sum, attack) => sum + (attack.totalStallMs ?? 0), 0);
  if (totalStallMs > 0 && attacked.stalledMs > totalStallMs)
    problems.push(
      `no honest request was answered for ${attacked.stalledMs.toFixed(0)} ms, ${totalStallMs} are documented`,
    );
  for (const [code, count] of Object.entries(attacked.errors))
    problems.push(`${count} honest requests: ${code}`);
  for (const [name, mib] of Object.entries(peakMib)) {
    const limit = bounds.mib[name];
    if (limit !== undefined && mib > limit)
      problems.push(`the ${name} had ${mib} MiB, ${limit} are documented`);
  }
  // Those that run apart wait for each other, up to a statement's deadline each.
  const turns = attacks.filter(attack => attack.offender !== undefined).length;
  for (const { name, offender } of attacks) {
    if (offender === undefined) continue;
    const state = outcome.offenders.get(name)?.state;
    if (outcome.seconds >= turns * offender.heldAfterS && state !== 'held')
      problems.push(`the tenant of ${name} was not held after ${outcome.seconds} s`);
    else if (outcome.seconds >= turns * offender.throttledAfterS && state !== 'held' && state !== 'throttled')
      problems.push(`the tenant of ${name} was not throttled after ${outcome.seconds} s`);
  }
  if (stallMs === 0) for (const name of replaced) problems.push(`the ${name} was replaced`);
  return problems;
}

/** One line of figures. */
export function describeOutcome({ quiet, attacked, peakMib, replaced, offenders }: Outcome): string {
  const memory = Object.entries(peakMib).map(([name, mib]) => `${name} ${mib}`);
  const errors = Object.entries(attacked.errors).map(([code, count]) => `${count} ${code}`);
  return [
    `p99 ${quiet.p99.toFixed(1)} → ${attacked.p99.toFixed(1)} ms, worst ${attacked.worst.toFixed(0)} ms (a ${attacked.worstOf}) of ${attacked.requests}, large bodies p99 ${quiet.largeP99.toFixed(0)} → ${attacked.largeP99.toFixed(0)} ms, stalled ${attacked.stalledMs.toFixed(0)} ms`,
    `MiB: ${memory.join(', ')}`,
    ...(errors.length > 0 ? [`errors: ${errors.join(', ')}`] : []),
    ...(replaced.length > 0 ? [`replaced: ${replaced.join(', ')}`] : []),
    ...[...offenders.values()].map(
      ({ tenant, times, state }) => `${tenant}: ${state}, ${times} ${times === 1 ? 'offence' : 'offences'}`,
    ),
  ].join(' · ');
}
