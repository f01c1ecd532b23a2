import { setTimeout as pause } from 'node:timers/promises';
import { tenantFile } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { Fault } from '../fault.ts';
import { PATIENT_CLIENTS } from '../rig.ts';

/** To Redis and back: each decision that asks it takes so long, and writes continue meanwhile. */
const ROUND_TRIP_MS = 20;
const RAISES = 8;

/** Files turn out to have seen newer epochs, while Redis is far away: a batch that the fence refuses keeps its place. */
export const raisedEpochs: Fault = {
  name: 'raised-epochs',
  summary: `The epoch in tenants' files is raised at random, with ${ROUND_TRIP_MS} ms from the broker to Redis and back.`,
  rig: { clients: PATIENT_CLIENTS, proxies: ['brokers'] },
  // Nothing ends, and nothing is lost on the way.
  judgeBy: { unknownAllowed: false },
  rounds: 10,
  async round({ rig, random, say, measure }) {
    for (const [party, proxy] of rig.proxies) {
      if (!party.startsWith('broker')) continue;
      proxy.requests = { kind: 'delay', delayMs: ROUND_TRIP_MS / 2 };
      proxy.answers = { kind: 'delay', delayMs: ROUND_TRIP_MS / 2 };
    }
    const before = await rig.epoch();
    for (let raise = 0; raise < RAISES; raise++) {
      await pause(random.between(20, 300));
      raiseEpoch(tenantFile(rig.dataDir, random.pick(rig.tenants)), random.between(1, 3));
    }
    const recoveredMs = await rig.awaitRecovery();
    measure('ms to a commit in every tenant', recoveredMs);
    const after = await rig.epoch();
    say(`epoch ${before} to ${after}, back after ${Math.round(recoveredMs)} ms`);
  },
};

/** As a leader with a newer epoch would leave the file. */
function raiseEpoch(path: string, by: number): void {
  const db = new Database(path, { timeout: 5_000, fileMustExist: true });
  try {
    db.prepare('UPDATE sqlite_onewriter_state SET epoch = epoch + ?').run(by);
  } finally {
    db.close();
  }
}
