import { OnewriterError } from '@onewriter/protocol';

export function closed(): OnewriterError {
  return new OnewriterError('CLOSED', 'The gateway is shutting down.');
}

export function aborted(tenant: string): OnewriterError {
  return new OnewriterError('ABORTED', 'The caller went away.', { tenant });
}

export function lost(tenant: string): OnewriterError {
  return new OnewriterError('TRANSACTION_TIMEOUT', 'The transaction was lost; begin it again.', { tenant });
}
