import { readFileSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import { areReplicaKeys, type Config } from '@onewriter/runtime';
import type { ReplicaAccess } from './replica-access.ts';

/** The settings of a process about its replica. */
export type ReplicaConfig = Pick<Config, 'replicaUrl' | 'replicaKey' | 'replicaKeyFile' | 'replicaKeys'>;

/**
 * How a process that only reads reaches the replica: a URL that was given, else the first of the settings; with their keys.
 * @returns undefined where there is neither
 * @throws OnewriterError MISCONFIGURED where the file with the key cannot be read, or holds none
 */
export function configuredAccess(
  config: ReplicaConfig,
  from?: string | undefined,
): ReplicaAccess | undefined {
  const url = from ?? config.replicaUrl?.split(',')[0];
  if (url === undefined) return undefined;
  const { replicaKeys: keys } = config;
  const masterKeys = config.replicaKey ?? readKeys(config.replicaKeyFile);
  // Former ones open what was stored before they were replaced.
  return { url, masterKeys: masterKeys?.split(',') ?? [], keys };
}

function readKeys(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    const message = `ONEWRITER_REPLICA_KEY_FILE cannot be read: ${(cause as Error).message}`;
    throw new OnewriterError('MISCONFIGURED', message, {}, cause);
  }
  if (areReplicaKeys(text)) return text;
  throw new OnewriterError(
    'MISCONFIGURED',
    'ONEWRITER_REPLICA_KEY_FILE: the file does not hold 32 bytes in base64.',
  );
}
