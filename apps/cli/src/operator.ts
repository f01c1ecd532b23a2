import { hostname, userInfo } from 'node:os';
import { isOnewriterError } from '@onewriter/protocol';
import { appendAudit, createLogger } from '@onewriter/runtime';
import type { Redis } from 'ioredis';

/** Who runs this command, for the audit log: `alice@host (command line)`. */
export function operatorName(): string {
  const sudo = process.env['SUDO_USER'];
  return `${sudo ? `${sudo} as ` : ''}${userName()}@${hostname()} (command line)`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`; // a container's user without an entry in /etc/passwd
  }
}

/** Does `work` and writes down in the group's audit log how it ended. */
export async function audited<T>(
  redis: Redis,
  group: string,
  action: string,
  tenant: string,
  work: () => Promise<T>,
  detail?: string | undefined,
): Promise<T> {
  // Its line is for a service's log: here only a Redis that refuses the entry is reported.
  const log = createLogger('onewriter', 'warn');
  const write = (outcome: string) =>
    appendAudit(redis, group, log, {
      action,
      tenant,
      outcome,
      subject: operatorName(),
      token: '',
      requestId: '',
      address: '',
      detail,
    });
  try {
    const result = await work();
    await write('ok');
    return result;
  } catch (error) {
    await write(isOnewriterError(error) ? error.code : 'INTERNAL');
    throw error;
  }
}
