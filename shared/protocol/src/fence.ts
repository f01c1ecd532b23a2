import { isOnewriterError, OnewriterError } from './onewriter-error.ts';

/*
 * The fence (G5): of two brokers that both believe they lead, only the one with the newer epoch can commit, fetch or finish.
 * All who check it throw this error:
 *
 *   the file    the epoch of the newest leader stands in the file, and is compared inside each transaction: `takeEpoch` when it is
 *               opened, `Ledger.advance` for each commit (workers/writer)
 *   the queue   the epoch and the turn of its owner stand beside the queue, and each script compares them:
 *               workers/broker/src/queue/queue-scripts.ts, and RELEASE_FILE in shared/tenants for the end of a release
 *
 * A broker that gets it stops leading, unless it still holds the lease: then its epoch is raised above the one that was seen. Source:
 * infra/adr/0005-lease-and-epoch-fence.md.
 */

const MESSAGES = {
  file: 'A newer broker has taken over this file.',
  queue: 'A newer broker has taken over this queue.',
} as const;

/** Each lead has the epoch after the last, so none had a higher one than this. */
export const MAX_EPOCH = 2 ** 40;

/**
 * The answer to a leader that is not the newest.
 * @param what has seen a newer one
 * @param fileEpoch the epoch that it has seen
 * @returns FENCED; TENANT_UNAVAILABLE for an epoch that none had: raised above it, the epoch of all tenants would soon be no
 * exact number any more
 */
export function fenced(what: keyof typeof MESSAGES, fileEpoch: number, tenant?: string): OnewriterError {
  if (what === 'file' && fileEpoch > MAX_EPOCH) {
    const message = `The file says that a broker of epoch ${fileEpoch} wrote it, and there was none. Put a backup in its place: onewriter restore <backup> <tenant> --replace.`;
    return new OnewriterError('TENANT_UNAVAILABLE', message, { reason: 'impossible epoch', fileEpoch });
  }
  return new OnewriterError('FENCED', MESSAGES[what], {
    ...(tenant === undefined ? {} : { tenant }),
    fileEpoch,
  });
}

/** Whether a newer leader was seen. */
export function isFenced(error: unknown): error is OnewriterError {
  return isOnewriterError(error, 'FENCED');
}
