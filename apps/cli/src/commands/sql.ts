import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { decodeParameters, OnewriterError, splitScript } from '@onewriter/protocol';
import { connect } from '@onewriter/sdk';
import { EXIT } from '../exit-codes.ts';
import { formatResult } from '../shell/format-result.ts';
import { inScript } from '../shell/locate-error.ts';
import { runAtTerminal } from '../shell/run-terminal.ts';
import { SqlShell } from '../shell/sql-shell.ts';
import { connectOptions, findTarget, requireDataDir } from '../target.ts';
import { UsageError } from '../usage-error.ts';
import type { sqlAt } from './sql-at.ts';

/** Options of `onewriter sql`, as the command line gives them. */
export interface SqlOptions {
  readonly dataDir?: string | undefined;
  /** JSON: an array, or an object of named parameters; values as in the protocol's WireValue. */
  readonly params?: string | undefined;
  /** File with statements that are applied as a whole or not at all. */
  readonly script?: string | undefined;
  readonly timeout?: string | undefined;
  /** A point of the replica: reads alone. */
  readonly at?: string | undefined;
  /** Where the replica is. */
  readonly from?: string | undefined;
  readonly json?: boolean | undefined;
}

/** The most that the SDK takes. */
const MAX_CONNECT_MS = 5_000;

/**
 * Runs one statement of one tenant and prints its result; or, without one, what standard input has: a shell at a terminal,
 * else statement by statement until one fails. Reads are direct, writes go through the broker.
 */
export async function sql(
  tenant: string,
  statement: string | undefined,
  options: SqlOptions,
): Promise<number> {
  const params = parseParams(options.params);
  const givenMs = parseTimeout(options.timeout);
  const begunAt = performance.now();
  if (statement !== undefined) assertOneStatement(statement);
  if (options.at !== undefined) {
    if (statement === undefined || options.script !== undefined)
      throw new UsageError('With --at give one statement that reads.');
    return runAt(tenant, statement, { ...options, at: options.at, params });
  }
  const script = options.script === undefined ? undefined : readScript(options.script, statement);
  const target = findTarget(options.dataDir);
  requireDataDir(target);
  await using onewriter = await connect({
    ...(await connectOptions(target)),
    connectTimeoutMs: givenMs === undefined ? undefined : Math.min(Math.ceil(givenMs), MAX_CONNECT_MS),
  });
  // What connecting took is the caller's time, too.
  const timeoutMs =
    givenMs === undefined ? undefined : Math.max(1, Math.round(givenMs - (performance.now() - begunAt)));
  const mode = options.json ? 'json' : 'table';
  if (script !== undefined) {
    const { commitSeq } = await onewriter
      .tenant(tenant)
      .exec(script, { timeoutMs })
      .catch((error: unknown) => {
        throw inScript(error, script);
      });
    process.stdout.write(options.json ? `${JSON.stringify({ commitSeq })}\n` : `commit ${commitSeq}\n`);
    return EXIT.ok;
  }
  if (statement !== undefined && !statement.trimStart().startsWith('.')) {
    const result = await onewriter
      .tenant(tenant)
      .execute(statement, params, { rowMode: 'array', safeIntegers: true, timeoutMs });
    process.stdout.write(formatResult(result, mode));
    return EXIT.ok;
  }
  const shell = new SqlShell({
    onewriter,
    tenant,
    mode,
    timeoutMs,
    locates: statement === undefined && !process.stdin.isTTY,
    write: text => void process.stdout.write(text),
    writeError: text => void process.stderr.write(options.json ? text : `onewriter: ${text}`),
  });
  if (statement !== undefined) return (await shell.line(statement)) === 'failed' ? EXIT.failed : EXIT.ok;
  if (process.stdin.isTTY && !options.json) {
    await runAtTerminal(shell);
    return EXIT.ok;
  }
  return await runLines(shell); // awaited: the client is closed when this function returns
}

/** It loads what reads replicas: half a second. */
async function runAt(...given: Parameters<typeof sqlAt>): Promise<number> {
  return (await import('./sql-at.ts')).sqlAt(...given);
}

async function runLines(shell: SqlShell): Promise<number> {
  for await (const line of createInterface({ input: process.stdin, terminal: false })) {
    const outcome = await shell.line(line);
    if (outcome === 'quit') return EXIT.ok;
    if (outcome === 'failed') return EXIT.failed;
  }
  return (await shell.end()) === 'failed' ? EXIT.failed : EXIT.ok;
}

/** @throws UsageError */
function assertOneStatement(statement: string): void {
  if (statement.trimStart().startsWith('.') || splitScript(statement).length < 2) return;
  throw new UsageError(
    'Give one statement here. Several go into a file: --script <file> applies all or nothing, on standard input each commits alone.',
  );
}

function readScript(path: string, statement: string | undefined): string {
  if (statement !== undefined) {
    throw new UsageError('Give a statement or --script, not both.');
  }
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (cause) {
    throw new OnewriterError('INVALID_ARGUMENT', `--script: ${(cause as Error).message}`, {}, cause);
  }
}

/** @throws OnewriterError INVALID_ARGUMENT */
export function parseParams(json: string | undefined) {
  if (json === undefined) return [];
  try {
    const params: unknown = JSON.parse(json);
    if (params !== null && typeof params === 'object') return decodeParameters(params as never);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new UsageError(`--params is not JSON: ${cause.message}`, cause);
  }
  throw new UsageError(
    `--params is a JSON array, or an object of named parameters: '["a", 1]' or '{"id": "a"}'.`,
  );
}

function parseTimeout(seconds: string | undefined): number | undefined {
  if (seconds === undefined) return undefined;
  const value = Number(seconds);
  if (value > 0 && Number.isFinite(value)) return value * 1_000;
  throw new UsageError('--timeout is a number of seconds above 0.');
}
