import { OnewriterError } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import type { DashboardGateway } from '../dashboard-gateway.ts';
import { readLedgerFacts } from './ledger-facts.ts';

/** A gateway whose tenant has one commit, in a ledger of this name. */
function gatewayWith(ledger: string | undefined): DashboardGateway {
  const read = async (_tenant: string, sql: string) => {
    const asked = /FROM (\w+_ledger)/.exec(sql)?.[1];
    if (asked !== ledger) throw new OnewriterError('SQL_ERROR', `no such table: ${asked}`);
    const rows = sql.includes('GROUP BY commit_seq') ? [[7, 1_000, 1, 2]] : [];
    return { columns: [], rows, more: false };
  };
  return { read } as unknown as DashboardGateway;
}

it.each(['sqlite_onewriter_ledger', '_onewriter_ledger'])('reads a ledger named %s', async ledger => {
  const facts = await readLedgerFacts(gatewayWith(ledger), 'acme', { token: 't' });
  expect(facts?.commits).toEqual([{ commitSeq: 7, at: 1_000, jobs: 1, writes: 2 }]);
});

it('has no facts of a file that no broker has written', async () => {
  expect(await readLedgerFacts(gatewayWith(undefined), 'acme', { token: 't' })).toBeUndefined();
});
