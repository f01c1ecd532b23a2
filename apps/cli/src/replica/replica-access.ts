import { readFileSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import type { ReplicaAccess } from '@onewriter/replicator';
import { areReplicaKeys, type Config } from '@onewriter/runtime';

/**
 * How a command reaches the replica: a URL that was given, else the first of the settings; with their keys.
 * @throws OnewriterError MISCONFIGURED
 */
export function replicaAccess(config: Config, from?: string | undefined): ReplicaAccess {
  const url = from ?? config.replicaUrl?.split(',')[0];
  if (url === undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      'It is not known where the replica is: name it with --from s3://bucket/prefix (or file:///dir), or set ONEWRITER_REPLICA_URL.',
    );
  }
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
