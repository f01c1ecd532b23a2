import { CLI_MAIN, spawnProcess, withoutSettings } from '@onewriter/testkit';

/** How a command ended. */
export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Options of {@link runCli}. */
export interface RunCliOptions {
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** A file to read standard input from. */
  readonly stdin?: string | undefined;
}

/** Runs `onewriter …` to its end, without the settings of the test process. */
export async function runCli(args: readonly string[], options: RunCliOptions = {}): Promise<CliResult> {
  const env = { ...withoutSettings(), NO_COLOR: '1', ...options.env };
  const command =
    options.stdin === undefined
      ? await spawnProcess(process.execPath, [CLI_MAIN, ...args], { env })
      : await spawnProcess(
          'sh',
          [
            '-c',
            'input=$1; shift; exec "$@" < "$input"',
            'sh',
            options.stdin,
            process.execPath,
            CLI_MAIN,
            ...args,
          ],
          { env },
        );
  const { code } = await command.exited;
  return { code, stdout: command.stdout(), stderr: command.stderr() };
}

// biome-ignore-start lint/suspicious/noExplicitAny: tests look at what is there
/** What a command printed with `--json`. @throws Error with all that it said, where it is no JSON */
export function parseJson<T = any>({ stdout, stderr, code }: CliResult): T {
  try {
    return JSON.parse(stdout) as T;
  } catch {
    throw new Error(`Exit code ${code}, no JSON: ${stdout}\n${stderr}`);
  }
}
// biome-ignore-end lint/suspicious/noExplicitAny: tests look at what is there
