import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys, NEWEST_COMMIT_SEQ_SQL } from '@onewriter/protocol';
import { type Random, waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { CannotInject, FaultFailure } from './fault-failure.ts';
import { RECOVERY_MS, type Rig } from './rig.ts';
import { isWriteLocked } from './write-lock.ts';

/*
 * Changes of a tenant's file behind the broker's back, and what the broker finds.
 */

export function readNewestSeq(file: string): number {
  const db = new Database(file, { readonly: true });
  try {
    return newestSeq(db);
  } finally {
    db.close();
  }
}

export function newestSeq(db: Database.Database): number {
  return db.prepare<[], number>(NEWEST_COMMIT_SEQ_SQL).pluck().get() ?? 0;
}

export function assertWhole(path: string): void {
  const db = new Database(path, { readonly: true });
  try {
    const found = db.pragma('integrity_check', { simple: true });
    if (found !== 'ok') throw new FaultFailure(`The file that was put there is damaged: ${String(found)}`);
  } finally {
    db.close();
  }
}

/** Does something to a tenant's file while the broker stands still between two commits. */
export async function changeBetweenCommits(
  rig: Rig,
  random: Random,
  file: string,
  change: () => Promise<void>,
): Promise<void> {
  const [broker] = rig.brokers;
  for (let attempt = 1; attempt <= 50; attempt++) {
    broker!.signal('SIGSTOP');
    try {
      if (!isWriteLocked(file)) {
        await change();
        return;
      }
    } finally {
      broker!.signal('SIGCONT');
    }
    await pause(random.between(1, 20));
  }
  throw new CannotInject('There is no moment between two commits.');
}

/** Why a tenant is parked; '' where it is not. */
export async function findingOf(rig: Rig, tenant: string): Promise<string> {
  const record = await rig.direct.hget(groupKeys('default').parked, tenant);
  return (JSON.parse(record ?? '{"message":""}') as { message: string }).message;
}

/** The tenant is parked, with a finding that says so much. */
export async function awaitFinding(rig: Rig, tenant: string, words: string): Promise<string> {
  return waitFor(
    async () => {
      const message = await findingOf(rig, tenant);
      return message.includes(words) ? message : undefined;
    },
    { timeoutMs: RECOVERY_MS, what: `${tenant} to be parked with a finding` },
  );
}

export async function assertReleased(rig: Rig, tenant: string): Promise<void> {
  await waitFor(async () => (await rig.direct.hexists(groupKeys('default').parked, tenant)) === 0, {
    timeoutMs: RECOVERY_MS,
    what: `${tenant} to be parked no more`,
  });
}
