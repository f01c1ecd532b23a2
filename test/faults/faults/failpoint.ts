import { createRandom, deriveSeed, waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { CannotInject } from '../fault-failure.ts';
import { PATIENT_CLIENTS } from '../rig.ts';

/** The broker dies between a COMMIT and everything that follows from it: each commit there is delivered again. */
export const failpoint: Fault = {
  name: 'failpoint',
  summary:
    'The broker kills itself after a COMMIT and before completion (ONEWRITER_FAILPOINT=after-commit:<n>).',
  rig: {
    clients: PATIENT_CLIENTS,
    brokerEnv: start => ({
      ONEWRITER_FAILPOINT: `after-commit:${createRandom(deriveSeed(start, 'failpoint')).between(1, 400)}`,
    }),
  },
  // Every caller hears what the ledger says: a broker that comes back leaves no caller in doubt.
  judgeBy: { unknownAllowed: false },
  rounds: 100,
  async round({ rig, say, measure }) {
    const [broker] = rig.brokers;
    const before = broker!.exits.length;
    try {
      await waitFor(() => broker!.exits.length > before, { timeoutMs: 15_000, what: 'the failpoint' });
    } catch {
      throw new CannotInject('The broker does not know ONEWRITER_FAILPOINT, or takes no writes.');
    }
    const recoveredMs = await rig.awaitRecovery();
    measure('ms from the failpoint to a commit in every tenant', recoveredMs);
    say(`back after ${Math.round(recoveredMs)} ms`);
  },
};
