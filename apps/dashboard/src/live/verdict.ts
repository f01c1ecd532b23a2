import { findStatusProblems, remedyOf, type StatusFinding } from '@onewriter/protocol';
import type { GroupStatus } from '@onewriter/runtime';
import { findPausedTenants, type StillTenant } from '@onewriter/tenants';
import type { Tone } from '../views/icon.ts';

/** Result of one look. */
export type Look =
  | { readonly at: number; readonly group: GroupStatus; readonly failure?: undefined }
  /** Redis did not answer, and why. */
  | { readonly at: number; readonly group?: undefined; readonly failure: string };

/** One thing to look at, with what to do. */
export interface Problem extends Omit<StatusFinding, 'level'> {
  readonly level: Tone;
  readonly remedy: string | undefined;
}

/** Is it healthy? In words. */
export interface Verdict {
  readonly tone: Tone;
  readonly headline: string;
  readonly problems: readonly Problem[];
}

/** Judges a look: by the same findings as the command line and the alerts, and what only the dashboard knows. */
export function judge(look: Look, paused: readonly StillTenant[]): Verdict {
  if (look.group === undefined) {
    const problem: Problem = {
      level: 'critical',
      alert: 'OnewriterRedisDown',
      text: `Redis does not answer: ${look.failure}`,
      remedy: remedyOf('OnewriterRedisDown'),
    };
    return {
      tone: 'critical',
      headline: 'Redis does not answer: nothing can be written',
      problems: [problem],
    };
  }
  const findings: (Omit<Problem, 'remedy'> & { remedy?: string | undefined })[] = [
    ...findStatusProblems(look.group),
    ...findPausedTenants(paused),
  ];
  const { status, brokers } = look.group;
  if (status !== undefined && !brokers.some(broker => broker.state === 'standby')) {
    findings.push({
      level: 'info',
      alert: 'OnewriterNoStandby',
      text: 'No broker stands by: if this one dies, writes wait until it is started again.',
      remedy: 'For a take-over within two seconds run a second broker (npm start -- --brokers 2).',
    });
  }
  const problems = findings.map(finding => ({
    ...finding,
    remedy: finding.remedy ?? remedyOf(finding.alert),
  }));
  const tone = problems.some(({ level }) => level === 'critical')
    ? 'critical'
    : problems.some(({ level }) => level === 'warning')
      ? 'warning'
      : 'good';
  return { tone, headline: headlineOf(tone, problems), problems };
}

function headlineOf(tone: Tone, problems: readonly Problem[]): string {
  const critical = problems.filter(({ level }) => level === 'critical');
  if (critical.some(({ alert }) => alert === 'OnewriterNoLeader'))
    return 'No broker leads: nothing is written';
  if (critical.length > 0 && critical.every(({ alert }) => alert === 'OnewriterTenantParked')) {
    const [only] = critical;
    return critical.length === 1 && only?.tenant !== undefined
      ? `Tenant ${only.tenant} cannot be written; all others can`
      : `${critical.length} tenants cannot be written; all others can`;
  }
  if (tone === 'critical') return 'Writes are at risk';
  const warnings = problems.filter(({ level }) => level === 'warning').length;
  if (tone === 'warning')
    return `Writing, with ${warnings === 1 ? 'one thing' : `${warnings} things`} to look at`;
  return 'All is well';
}
