import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { CLI_MAIN, spawnProcess } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';

const COMMAND_MS = 60_000;
/** What a command may end with: another one works on the tenant, or its broker was killed. */
const PASSING = ['TENANT_UNAVAILABLE', 'BROKER_UNAVAILABLE', 'REPLICA_UNAVAILABLE', 'TENANT_BUSY'];

/**
 * Tenants hibernate while they are written and read, again and again; their next write or read brings them back. Brokers and commands
 * die in the middle. No handle, old or new, may read anything old, mixed or empty.
 */
export const hibernation: Fault = {
  name: 'hibernation',
  summary: 'Tenants hibernate under load and come back, while brokers and the command die in the middle.',
  rig: ({ folder }) => {
    const store = join(folder, 'store');
    mkdirSync(store, { recursive: true });
    return { brokers: 2, tenants: 4, env: { ONEWRITER_REPLICA_URL: `file://${store}` } };
  },
  rounds: 100,
  roundsPerRig: 20,
  async round({ rig, random, say }) {
    await pause(random.between(50, 300));
    const tenant = random.pick(rig.tenants);
    const environment = rig.commandEnvironment();
    const args = ['hibernate', tenant, '--force', '--json'];
    const command = await spawnProcess(process.execPath, [CLI_MAIN, ...args], { env: environment });
    const timer = setTimeout(() => command.kill('SIGKILL'), COMMAND_MS);
    // A killed command's hold lasts for half a minute.
    const dies = random.oneIn(12);
    const brokersDie = !dies && random.oneIn(4);
    const dying = pause(random.between(300, 1_800)).then(() => {
      if (dies) command.kill('SIGKILL');
      if (brokersDie) for (const broker of rig.brokers) broker.signal('SIGKILL');
    });
    const [{ code }] = await Promise.all([command.exited, dying]);
    clearTimeout(timer);
    const isExpected = code === 0 || dies || PASSING.some(passing => command.stdout().includes(passing));
    if (!isExpected)
      throw new FaultFailure(`hibernate ${tenant} ended with ${code}: ${command.logs().slice(-1_000)}`);
    const recoveredMs = await rig.awaitRecovery();
    const what = code === 0 ? 'hibernated' : dies ? 'command killed' : 'not hibernated';
    say(`${tenant} ${what}${brokersDie ? ', brokers killed' : ''}, back after ${Math.round(recoveredMs)} ms`);
  },
};
