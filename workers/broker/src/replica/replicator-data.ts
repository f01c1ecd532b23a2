import { readFileSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import type { ReplicatorData } from '@onewriter/replicator';
import { areReplicaKeys, type Config, environmentName } from '@onewriter/runtime';

const UNITS_MS: Readonly<Record<string, number>> = Object.freeze({ h: 3_600_000, d: 86_400_000 });

/** What a replicator is started with, besides what its threads share; undefined where nothing is replicated. */
export function toReplicatorData(
  config: Config,
  dataDirId: string,
): Omit<ReplicatorData, 'room'> | undefined {
  if (config.replicaUrl === undefined) return undefined;
  return {
    urls: config.replicaUrl.split(','),
    dataDir: config.dataDir,
    dbFile: config.dbFile,
    dataDirId,
    group: config.group,
    intervalMs: config.replicaIntervalMs,
    retentionMs: retentionMs(config.replicaRetention),
    rehearsals: config.replicaRehearsals,
    masterKey: readMasterKey(config),
    keys: config.replicaKeys,
  };
}

/** @param text checked by the schema of the settings: `12h`, `30d` */
function retentionMs(text: string): number {
  return Number.parseInt(text, 10) * UNITS_MS[text.at(-1)!]!;
}

/** The key in base64, and former ones; undefined where there is none. @throws OnewriterError MISCONFIGURED */
function readMasterKey({ replicaKey, replicaKeyFile }: Config): string | undefined {
  if (replicaKey !== undefined || replicaKeyFile === undefined) return replicaKey;
  const setting = environmentName('replicaKeyFile');
  let key: string;
  try {
    key = readFileSync(replicaKeyFile, 'utf8').trim();
  } catch (error) {
    throw new OnewriterError('MISCONFIGURED', `${setting}: the file cannot be read.`, {}, error);
  }
  if (areReplicaKeys(key)) return key;
  throw new OnewriterError('MISCONFIGURED', `${setting}: the file does not hold 32 bytes in base64.`);
}
