import { assertSqliteOpens, inspectDataDir, OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { ResolvedOptions } from '../options.ts';
import type { LedgerReader } from '../settle/ledger.ts';
import { FileReads } from './file-reads.ts';
import { GatewayReads } from './gateway-reads.ts';
import { OwnerReads } from './owner-reads.ts';
import type { Reads } from './reads.ts';
import { Waking } from './waking.ts';

/** How a client reads. */
export interface ChosenReads {
  readonly reads: Reads & LedgerReader;
  /** Set where some reads may go through the queue, if only to bring a hibernated tenant back. */
  readonly owner: OwnerReads | undefined;
}

/**
 * Decides once how this client reads (from the file, else through the gateway if one is given, else through the owner of the file),
 * and says so in the log where it is not the direct way that was meant.
 * @throws OnewriterError MISCONFIGURED where the way asked for, or any that is safe, is missing
 */
export function chooseReads(options: ResolvedOptions): ChosenReads {
  const { dataDir, reads, logger } = options;
  if (reads === 'gateway') return { reads: requireGateway(options), owner: undefined };
  if (reads === 'owner') return through(openOwner(options));
  if (dataDir === undefined) {
    if (reads === 'file') throw misconfigured('The option reads is file, but there is no dataDir.');
    return throughOthers(options);
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
  const chosen = throughOthers(options);
  const { route } = chosen.reads;
  logger.warn({ dataDir, route, ...found }, `${problem}: reading through the ${route}`);
  return chosen;
}

/** Where this process cannot open files. */
function throughOthers(options: ResolvedOptions): ChosenReads {
  if (options.gatewayUrl === undefined) return through(openOwner(options));
  return { reads: openGateway(options), owner: undefined };
}

function openFiles(options: ResolvedOptions): ChosenReads {
  assertSqliteOpens(() => new Database(':memory:'));
  const { dataDir, reads } = options;
  const fallback: Partial<ChosenReads> = reads === 'file' ? {} : throughOthers(options);
  const owner = fallback.owner ?? openOwner(options);
  // Any job has its owner bring the file of a hibernated tenant back.
  const waking = new Waking(async (tenant, wait) => {
    await owner.get({ tenant, sql: 'SELECT 1', params: [], options: wait });
  });
  return { reads: new FileReads({ ...options, dataDir: dataDir!, waking }, fallback.reads), owner };
}

function through(owner: OwnerReads): ChosenReads {
  return { reads: owner, owner };
}

function openOwner({ maxResultRows, writeTimeoutMs }: ResolvedOptions): OwnerReads {
  return new OwnerReads({ maxResultRows, timeoutMs: writeTimeoutMs });
}

function requireGateway(options: ResolvedOptions): GatewayReads {
  if (options.gatewayUrl !== undefined) return openGateway(options);
  throw misconfigured('The option reads is gateway, and there is no gatewayUrl to read through.');
}

function openGateway(options: ResolvedOptions): GatewayReads {
  const { gatewayUrl, token, maxResultRows, writeTimeoutMs } = options;
  return new GatewayReads({ gatewayUrl: gatewayUrl!, token, maxResultRows, timeoutMs: writeTimeoutMs });
}

function misconfigured(message: string): OnewriterError {
  return new OnewriterError('MISCONFIGURED', message);
}
