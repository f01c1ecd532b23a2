import { parseWriteJob } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { type EncodedWrite, encodeScript, encodeStatement, encodeTransaction } from './encoded-write.ts';
import { OutboundJob } from './outbound-job.ts';
import { PendingWrite } from './pending-write.ts';
import { openSealed, sealScript, sealStatement, sealTransaction } from './sealed-write.ts';

const INSERT = 'INSERT INTO t VALUES (?, ?)';
const FLAGS = { idempotencyKey: 'order "7"', requestId: 'r-1', sender: 'a-token' };

function jobOf(payload: EncodedWrite): OutboundJob {
  const holder = { onPayloadDropped: () => {}, onSettled: () => {} };
  const caller = { resolve: () => {}, reject: () => {} };
  return new OutboundJob('c-1', 'acme', 3, [
    new PendingWrite(payload, 'commit', 1, undefined, caller, holder),
  ]);
}

/** What the broker reads, but for the time. */
function read(payload: EncodedWrite) {
  const job = jobOf(payload);
  return { name: job.name, ...parseWriteJob(job.message.toString()), at: 0 };
}

describe('a sealed write', () => {
  it('is the same job as one that was not sealed', () => {
    const params = [1, 'é "quoted" \u2028', 2n ** 63n - 1n, new Uint8Array([1, 2]), null];
    expect(read(openSealed(sealStatement(INSERT, params, FLAGS)))).toEqual(
      read(encodeStatement({ sql: INSERT, params }, FLAGS)),
    );
    const statements = [
      { sql: INSERT, params: [1, 2], expect: { changes: 1 } },
      { sql: 'DELETE FROM t', params: [] },
      { sql: INSERT, params: { a: -0 } },
    ];
    expect(read(openSealed(sealTransaction(statements, FLAGS)))).toEqual(
      read(encodeTransaction(statements, FLAGS)),
    );
    const script = "DELETE FROM t; INSERT INTO t VALUES ('é;', 1)";
    expect(read(openSealed(sealScript(script, FLAGS)!))).toEqual(read(encodeScript(script, FLAGS)));
  });

  it('counts its bytes', () => {
    const write = openSealed(sealStatement(INSERT, ['é'.repeat(1_000), 1], {}));
    const job = jobOf(write);
    expect(job.size).toBe(Buffer.byteLength(job.message));
    expect(write.operationBytes + write.sqlBytes).toBeGreaterThan(2_000);
    expect(job.size - write.operationBytes).toBeLessThan(200);
  });

  it('refuses what would be refused without a seal', () => {
    expect(() => sealStatement('SELECT 1', [], {})).toThrow(TypeError);
    expect(() => sealStatement('VACUUM', [], {})).toThrow('VACUUM is not allowed');
    expect(() => sealTransaction([], {})).toThrow('at least one statement');
    const refused = () => sealTransaction([{ sql: INSERT }, { sql: 'COMMIT' }], {});
    expect(refused).toThrow(expect.objectContaining({ details: { statementIndex: 1 } }));
    expect(() => sealScript('-- nothing', {})).toThrow('no statement');
  });

  it('may be a script without foreign keys and with transactions, but not one that rolls back', () => {
    const script = 'PRAGMA foreign_keys=OFF; BEGIN; DELETE FROM t; COMMIT; PRAGMA foreign_keys=ON';
    expect(sealScript(script, {}).kind).toBe('script');
    expect(sealScript(`${script}; BEGIN; DELETE FROM t; COMMIT`, {}).kind).toBe('script');
    expect(() => sealScript(`${script}; BEGIN; DELETE FROM t; ROLLBACK`, {})).toThrow(/is not allowed/);
    expect(() => sealScript('PRAGMA foreign_keys=OFF', {})).toThrow(/no effect alone/);
  });
});
