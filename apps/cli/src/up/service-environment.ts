import type { Service } from './services.ts';

/** What opens the replica. The broker writes it, the gateway restores out of it (infra/adr/0073). */
const REPLICA_SECRETS = ['ONEWRITER_REPLICA_KEY', 'ONEWRITER_REPLICA_KEY_FILE'];
const STORE_SECRETS = /^AWS_/;

/** The environment of a process, without the secrets that it has no use for. */
export function environmentOf(service: Service, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (service !== 'dashboard') return environment;
  return Object.fromEntries(
    Object.entries(environment).filter(
      ([name]) => !REPLICA_SECRETS.includes(name) && !STORE_SECRETS.test(name),
    ),
  );
}
