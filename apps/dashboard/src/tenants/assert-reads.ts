import { classifyStatement, LIMITS, OnewriterError } from '@onewriter/protocol';

/** The gateway would have it written: what does not read never gets there. @throws OnewriterError */
export function assertReads(sql: string): void {
  if (Buffer.byteLength(sql) > LIMITS.maxStatementBytes || sql.trim() === '') {
    throw new OnewriterError('INVALID_ARGUMENT', 'Type one statement.');
  }
  if (classifyStatement(sql).kind !== 'read') {
    const message = 'This box only reads. Writes go through the application, or: npx onewriter sql';
    throw new OnewriterError('FORBIDDEN', message);
  }
}
