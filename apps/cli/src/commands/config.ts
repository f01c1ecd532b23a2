import { type Config, configSchema, environmentName, loadConfig } from '@onewriter/runtime';
import { formatTable } from '../table.ts';

/** Options of `onewriter config`, as the command line gives them. */
export interface ConfigOptions {
  readonly json?: boolean | undefined;
}

/** One setting, as `onewriter config --json` lists it. */
export interface SettingSummary {
  readonly setting: string;
  readonly variable: string;
  /** Null where there is none. */
  readonly default: unknown;
  /** What a process started here would use; secrets are masked. */
  readonly value: unknown;
  readonly description: string;
}

const SECRETS: ReadonlySet<string> = new Set([
  'tokenSecret',
  'tokenSecretPrevious',
  'adminToken',
  'metricsToken',
  'replicaKey',
  'token',
]);

/** Lists every setting. @throws OnewriterError MISCONFIGURED for a wrong environment variable. */
export function config(options: ConfigOptions): number {
  const list = describeSettings(process.env);
  process.stdout.write(options.json ? `${JSON.stringify(list)}\n` : asText(list));
  return 0;
}

/** Every setting with its default and its value in `environment`. @throws OnewriterError MISCONFIGURED */
export function describeSettings(environment: NodeJS.ProcessEnv): SettingSummary[] {
  const values = loadConfig(environment);
  const defaults = loadConfig({});
  return (Object.keys(configSchema.shape) as (keyof Config)[]).map(setting => ({
    setting,
    variable: environmentName(setting),
    default: defaults[setting] ?? null,
    value: maskSecrets(setting, values[setting]) ?? null,
    description: configSchema.shape[setting].description ?? '',
  }));
}

function asText(list: readonly SettingSummary[]): string {
  const rows = list.map(row => [
    row.variable,
    row.value === null ? '-' : String(row.value),
    row.default === null ? '-' : String(row.default),
    row.description,
  ]);
  return formatTable(['variable', 'value', 'default', 'meaning'], rows, { maxCellWidth: 200 });
}

function maskSecrets(setting: keyof Config, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (SECRETS.has(setting)) return '(set)';
  // The passwords of URLs: some settings are lists of them.
  return value.replace(/(?<=^|,)([a-z][a-z0-9]*:\/\/[^:@/,]*:)[^@]*?@/gi, '$1***@');
}
