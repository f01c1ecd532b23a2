import type { Logger } from '@onewriter/runtime';
import type { TenantSession } from '../tenant/session/tenant-session.ts';

export const CLOSE_IDLE_EVERY_MS = 5_000;

/** What the idle close needs of a leader's sessions. */
export interface IdleCloseSessions<Session> {
  readonly all: readonly Session[];
  readonly forget: (session: Session) => void;
  readonly leaveOpenSet: (tenants: readonly string[]) => Promise<void>;
}

/** Settings of {@link closeIdleTenants}. */
export interface IdleCloseOptions<Session> {
  readonly sessions: IdleCloseSessions<Session>;
  /** `ONEWRITER_IDLE_CLOSE_MS`: how long a tenant without work stays open. */
  readonly idleCloseMs: number;
  /** Closes the file of a session that was forgotten. A new session of the tenant may begin meanwhile. */
  readonly closeFile: (session: Session) => Promise<void>;
  readonly log: Logger;
}

/**
 * Idle close: forgets the sessions of tenants without work, and closes their files. The next write opens them again.
 * To be called every {@link CLOSE_IDLE_EVERY_MS}.
 */
export function closeIdleTenants<Session extends Pick<TenantSession, 'tenant' | 'asleep' | 'lastUsedAt'>>(
  options: IdleCloseOptions<Session>,
): void {
  const { sessions, idleCloseMs, closeFile, log } = options;
  const before = performance.now() - idleCloseMs;
  const idle = sessions.all.filter(session => session.asleep && session.lastUsedAt <= before);
  for (const session of idle) {
    sessions.forget(session);
    closeFile(session).catch(error =>
      log.warn({ err: error, tenant: session.tenant }, 'An idle tenant was not closed'),
    );
  }
  if (idle.length === 0) return;
  // A tenant that is left in the set costs its successor one look.
  sessions.leaveOpenSet(idle.map(({ tenant }) => tenant)).catch(() => {});
}
