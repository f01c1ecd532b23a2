import { decodeParameters, encodeResultValue, OnewriterError, type SqlValue } from '@onewriter/protocol';
import { connect, type ExecuteResult, type SqlRowArray } from '@onewriter/sdk';
import { formatTable } from '../table.ts';
import { connectOptions, findTarget } from '../target.ts';

/** Options of `onewriter sql`, as the command line gives them. */
export interface SqlOptions {
  readonly dataDir?: string | undefined;
  /** JSON: an array, or an object of named parameters; values as in the protocol's WireValue. */
  readonly params?: string | undefined;
  readonly timeout?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Runs one statement of one tenant, and prints its result. Reads are direct, writes go through the broker. */
export async function sql(tenant: string, statement: string, options: SqlOptions): Promise<number> {
  const params = parseParams(options.params);
  const timeoutMs = parseTimeout(options.timeout);
  await using onewriter = await connect(await connectOptions(findTarget(options.dataDir)));
  const result = await onewriter.tenant(tenant).execute(statement, params, { rowMode: 'array', timeoutMs });
  process.stdout.write(options.json ? resultAsJson(result) : resultAsText(result));
  return 0;
}

/** @throws OnewriterError INVALID_ARGUMENT */
export function parseParams(json: string | undefined) {
  if (json === undefined) return [];
  try {
    const params: unknown = JSON.parse(json);
    if (params !== null && typeof params === 'object') return decodeParameters(params as never);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new OnewriterError('INVALID_ARGUMENT', `--params is not JSON: ${cause.message}`, {}, cause);
  }
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `--params is a JSON array, or an object of named parameters: '["a", 1]' or '{"id": "a"}'.`,
  );
}

function parseTimeout(seconds: string | undefined): number | undefined {
  if (seconds === undefined) return undefined;
  const value = Number(seconds);
  if (value > 0 && Number.isFinite(value)) return value * 1_000;
  throw new OnewriterError('INVALID_ARGUMENT', '--timeout is a number of seconds above 0.');
}

function resultAsJson(result: ExecuteResult<SqlRowArray>): string {
  return `${JSON.stringify({
    ...result,
    rows: result.rows?.map(row => row.map(encodeResultValue)),
    lastInsertRowid: encodeResultValue(result.lastInsertRowid),
  })}\n`;
}

function resultAsText(result: ExecuteResult<SqlRowArray>): string {
  const { columns, rows = [], changes } = result;
  const lines: string[] = [];
  if (columns !== undefined) {
    lines.push(
      formatTable(
        columns,
        rows.map(row => row.map(formatValue)),
      ),
    );
    lines.push(`${rows.length} ${rows.length === 1 ? 'row' : 'rows'}\n`);
  }
  if (result.kind === 'write') {
    const rowid = result.lastInsertRowid === 0 ? '' : `, last row id ${result.lastInsertRowid}`;
    lines.push(`${changes} ${changes === 1 ? 'change' : 'changes'}${rowid}, commit ${result.commitSeq}\n`);
  }
  return lines.join('');
}

function formatValue(value: SqlValue): string {
  if (value === null) return 'NULL';
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString('hex')}'`;
  return String(value);
}
