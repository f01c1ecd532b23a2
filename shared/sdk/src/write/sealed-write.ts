import { classifyStatement, describeStatement, type SqlParameters, splitScript } from '@onewriter/protocol';
import type { SealedWrite, TransactionStatement } from '../types.ts';
import { assertAllowed, assertStatements, checkTransaction } from './assert-writes.ts';
import {
  type EncodedWrite,
  encodeScript,
  encodeStatement,
  encodeTransaction,
  type OperationFlags,
} from './encoded-write.ts';

export type { OperationFlags } from './encoded-write.ts';

/*
 * What a write costs the thread that encodes it: up to 8 MB are read, judged and written as JSON. A gateway, whose event loop all tenants
 * share, has it done by another thread, and gets bytes.
 */

/**
 * Seals one statement, which writes.
 * @throws OnewriterError as Tenant.execute()
 */
export function sealStatement(sql: string, params: SqlParameters, flags: OperationFlags): SealedWrite {
  if (classifyStatement(sql).kind === 'read')
    throw new TypeError('This statement only reads. A sealed write is one.');
  return seal('statement', encodeStatement({ sql, params }, flags));
}

/** Seals a transaction. @param tenant for its errors. @throws OnewriterError as Tenant.transaction() */
export function sealTransaction(
  statements: readonly TransactionStatement[],
  flags: OperationFlags,
  tenant?: string | undefined,
): SealedWrite {
  return seal('transaction', encodeTransaction(checkTransaction(statements, tenant), flags));
}

/**
 * Seals a script.
 * @param tenant for its errors
 * @throws OnewriterError as Tenant.exec()
 */
export function sealScript(script: string, flags: OperationFlags, tenant?: string | undefined): SealedWrite {
  const statements = splitScript(script);
  assertStatements(statements, tenant);
  assertAllowed(statements);
  return seal('script', encodeScript(script, flags));
}

/** The write as it goes to the queue. */
export function openSealed(sealed: SealedWrite): EncodedWrite {
  return {
    sql: [],
    format: () => {
      throw new TypeError('A sealed write has a job of its own.');
    },
    operationBytes: sealed.tail.byteLength,
    sqlBytes: 0,
    sealed,
    durable: sealed.durable,
  };
}

/** The end of a message's JSON. @param operations JSON of each */
export function formatTail(sql: Iterable<string>, operations: readonly string[]): string {
  return `,"sql":${JSON.stringify([...sql])},"ops":[${operations.join(',')}]}`;
}

function seal(kind: SealedWrite['kind'], write: EncodedWrite): SealedWrite {
  const indexes = new Map<string, number>();
  const own = write.sql.map(sql => {
    const index = indexes.get(sql) ?? indexes.size;
    indexes.set(sql, index);
    return index;
  });
  return {
    kind,
    description: describeStatement(write.sql[0] ?? ''),
    texts: write.sql.length,
    durable: write.durable,
    tail: new TextEncoder().encode(formatTail(indexes.keys(), [write.format(own)])),
  };
}
