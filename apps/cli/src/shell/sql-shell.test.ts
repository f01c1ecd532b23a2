import { OnewriterError } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { inScript } from './locate-error.ts';
import { SqlShell } from './sql-shell.ts';

/** A shell whose statements fail where they are BAD. */
function openShell(locates: boolean) {
  const ran: string[] = [];
  const errors: string[] = [];
  const execute = async (sql: string) => {
    if (sql.includes('BAD')) throw new OnewriterError('SQL_ERROR', 'near "BAD": syntax error');
    ran.push(sql);
    return { kind: 'read', columns: ['a', 'b'], rows: [[5, 'NULL']], lastInsertRowid: 0 };
  };
  const output: string[] = [];
  const shell = new SqlShell({
    onewriter: { tenant: (id: string) => ({ id, execute }) } as never,
    tenant: 'acme',
    mode: 'table',
    timeoutMs: undefined,
    locates,
    write: text => void output.push(text),
    writeError: text => void errors.push(text),
  });
  return { shell, ran, errors, output };
}

describe('statements of a file', () => {
  it('are named by number and line where they fail', async () => {
    const { shell, errors, ran } = openShell(true);
    const lines = [
      'SELECT 1; SELECT',
      '  2;',
      '.mode csv',
      '-- BAD',
      '',
      'SELECT 3;',
      "SELECT ';",
      "';  BAD 1;",
    ];
    const outcomes: string[] = [];
    for (const line of lines) outcomes.push(await shell.line(line));
    expect(outcomes.at(-1)).toBe('failed');
    expect(ran).toHaveLength(4);
    expect(errors).toEqual([expect.stringMatching(/^SQL_ERROR Statement 5 \(line 8\): near "BAD"/)]);
  });

  it('may end without a semicolon', async () => {
    const { shell, errors, ran } = openShell(true);
    await shell.line('SELECT 1;');
    await shell.line('-- the last');
    await shell.line('BAD 2');
    expect(await shell.end()).toBe('failed');
    expect(ran).toEqual(['SELECT 1']);
    expect(errors).toEqual([expect.stringContaining('Statement 2 (line 3): ')]);
    expect(await shell.end()).toBe('ok');
  });

  it('are not named where a person types them', async () => {
    const { shell, errors } = openShell(false);
    await shell.line('BAD;');
    expect(errors).toEqual([expect.stringMatching(/^SQL_ERROR near/)]);
  });
});

it('an error of a script names the statement and its line', () => {
  const script = '-- one\nSELECT 1;\n\n  BAD;\n';
  const error = new OnewriterError('SQL_ERROR', 'near "BAD"', { statementIndex: 1 });
  expect(inScript(error, script)).toMatchObject({
    code: 'SQL_ERROR',
    message: 'Statement 2 (line 4): near "BAD"',
    details: { statementIndex: 1, statement: 2, line: 4 },
  });
  const whole = new OnewriterError('BROKER_UNAVAILABLE', 'gone');
  expect(inScript(whole, script)).toBe(whole);
});

it('shows reals as reals, and the text NULL in quotes', async () => {
  const { shell, output } = openShell(false);
  await shell.line('SELECT 1;');
  expect(output.join('')).toMatch(/^5\.0 +'NULL'$/m);
});
