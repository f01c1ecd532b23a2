import type { StatusFinding } from '@onewriter/protocol';
import { REPEAT_OFFENDER } from '../holders/index.ts';
import { endsByPerson } from '../tenant-state.ts';
import type { StillTenant } from './still-walk.ts';

/**
 * Pauses that keep writes waiting until a person ends them, for the dashboard and the command line. A pause without waiting
 * writes does no harm, a program ends its own hold, and a repeat offender is among the parked tenants.
 */
export function findPausedTenants(still: readonly StillTenant[]): StatusFinding[] {
  const findings: StatusFinding[] = [];
  for (const { tenant, waitingJobs, holders } of still) {
    const pause = holders.find(endsByPerson);
    if (waitingJobs === 0 || pause === undefined || pause.name === REPEAT_OFFENDER) continue;
    const by = pause.who === '' ? '' : ` by ${pause.who}`;
    const reason = pause.reason === '' ? '' : ` (${pause.reason})`;
    const text = `${tenant} is paused${by}${reason} and ${waitingJobs === 1 ? '1 job waits' : `${waitingJobs} jobs wait`} in its queue.`;
    findings.push({ level: 'warning', alert: 'OnewriterTenantPaused', text, tenant });
  }
  return findings;
}
