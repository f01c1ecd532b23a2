import { FileStore } from './file/file-store.ts';
import { parseReplicaUrl } from './replica-url.ts';
import { readS3Settings } from './s3/s3-settings.ts';
import { S3Store } from './s3/s3-store.ts';
import type { OpenStore } from './store-watch.ts';

/**
 * Opens the store of one URL; asks nothing of it yet, except that a directory must be there.
 * @param env has the credentials: AWS_…
 * @param callsAtATime of a folder; default: 64
 * @throws OnewriterError MISCONFIGURED, REPLICA_REFUSED
 */
export async function openStore(
  url: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
  callsAtATime?: number | undefined,
): Promise<OpenStore> {
  const address = parseReplicaUrl(url);
  if (address.kind === 'file') return FileStore.open(address, callsAtATime);
  return new S3Store({ ...address, settings: readS3Settings(env) });
}
