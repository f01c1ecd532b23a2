import { assertSqliteOpens, inspectDataDir, OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { ResolvedOptions } from '../options.ts';
import type { LedgerReader } from '../settle/ledger.ts';
import { FileReads } from './file-reads.ts';
import { GatewayReads } from './gateway-reads.ts';
import { NoReads } from './no-reads.ts';
import type { Reads } from './reads.ts';

/**
 * Decides once how this client reads, and says so in the log where it is not the direct way that was meant.
 * @throws OnewriterError MISCONFIGURED where the way asked for, or any that is safe, is missing
 */
export function chooseReads(options: ResolvedOptions): Reads & LedgerReader {
  const { dataDir, gatewayUrl, reads, logger } = options;
  if (reads === 'gateway') return requireGateway(options, 'The option reads is gateway');
  if (dataDir === undefined) {
    if (reads === 'file') throw misconfigured('The option reads is file, but there is no dataDir.');
    return gatewayUrl === undefined ? new NoReads() : openGateway(options);
  }
  const found = inspectDataDir(dataDir);
  if (found.kind === 'local') return openFiles(options);
  if (found.kind === 'network' && reads === 'file') {
    logger.warn(
      { dataDir, ...found },
      'Reading files on a shared file system, as configured; other hosts must not use them',
    );
    return openFiles(options);
  }
  const problem =
    found.kind === 'absent'
      ? `The data directory ${dataDir} does not exist here`
      : `The data directory ${dataDir} is on ${found.fileSystem}, where a WAL file must not be read from another host`;
  if (reads === 'file') throw misconfigured(`${problem}.`);
  const gateway = requireGateway(options, problem);
  logger.warn({ dataDir, gatewayUrl, ...found }, `${problem}: reading through the gateway`);
  return gateway;
}

function openFiles(options: ResolvedOptions): FileReads {
  assertSqliteOpens(() => new Database(':memory:'));
  const { dataDir, gatewayUrl } = options;
  const fallback = gatewayUrl === undefined ? undefined : openGateway(options);
  return new FileReads({ ...options, dataDir: dataDir! }, fallback);
}

function requireGateway(options: ResolvedOptions, problem: string): GatewayReads {
  if (options.gatewayUrl !== undefined) return openGateway(options);
  throw misconfigured(`${problem}, and there is no gatewayUrl to read through.`);
}

function openGateway(options: ResolvedOptions): GatewayReads {
  const { gatewayUrl, token, maxResultRows, writeTimeoutMs } = options;
  return new GatewayReads({ gatewayUrl: gatewayUrl!, token, maxResultRows, timeoutMs: writeTimeoutMs });
}

function misconfigured(message: string): OnewriterError {
  return new OnewriterError('MISCONFIGURED', message);
}
