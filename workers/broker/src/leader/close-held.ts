import { releaseWithheld } from '@onewriter/writer';
import type { Doorbell } from '../queue/doorbell.ts';
import type { LeaderParts } from './leader-parts.ts';

/**
 * A tenant is held: finishes what was begun, requeues the rest, and closes its file.
 * @param isForPerson a person holds it, who may repair its file
 */
export async function closeHeldTenant(
  parts: LeaderParts,
  doorbell: Doorbell,
  tenant: string,
  isForPerson: boolean,
): Promise<void> {
  const { options, phase, services, sessions } = parts;
  const { link } = options;
  const session = sessions.find(tenant);
  if (session !== undefined) {
    const rest = session.drain();
    // A fetch may wait for the next notification.
    await link.retryUntilDone(() => doorbell.wake(link));
    await rest;
    await link.retryUntilDone(() => session.requeue());
    if (phase.isEnding) await new Promise<never>(() => {}); // the end of the process hands its jobs over
    sessions.forget(session);
  }
  await services.waker.stop(tenant);
  // Also without a session: the file of an idle one may still be closing.
  await services.lanes.closeFile(tenant);
  if (session !== undefined) await link.retryUntilDone(() => sessions.leaveOpenSet([tenant]));
  if (isForPerson) forgetFinding(parts, tenant);
}

/** Whatever happened to the file, its holder repairs it. Only the holder can know that the file is gone. */
function forgetFinding({ options, services }: LeaderParts, tenant: string): void {
  const { config, log } = options;
  const { parked } = services;
  try {
    const mayBeGone = parked.codeOf(tenant) === 'TENANT_UNAVAILABLE';
    if (releaseWithheld(config.dataDir, tenant, mayBeGone ? config.dbFile : undefined)) {
      parked.release(tenant, 'A person handles the file that changed');
    }
  } catch (error) {
    log.error({ err: error, tenant }, 'The note that keeps the tenant closed could not be removed');
  }
}
