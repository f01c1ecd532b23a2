import { PRICES, type ReplicaCost, replicaCost } from '../replica/replica-cost.ts';
import { formatTable } from '../table.ts';
import { findTarget } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter replica cost`, as the command line gives them. */
export interface ReplicaCostOptions {
  readonly tenants?: string | undefined;
  readonly commits?: string | undefined;
  readonly bytes?: string | undefined;
  readonly size?: string | undefined;
  readonly priceOfPuts?: string | undefined;
  readonly priceOfGets?: string | undefined;
  readonly priceOfStorage?: string | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

const DAY_MS = 86_400_000;
const MB = 1e6;

/** Prints what a replica costs a month, for some numbers of tenants. */
export function printReplicaCost(options: ReplicaCostOptions): number {
  const { config } = findTarget(options.dataDir);
  const load = {
    commitsPerSecond: readNumber('--commits', options.commits, 0.1),
    bytesPerCommit: readNumber('--bytes', options.bytes, 1_000),
    fileBytes: readNumber('--size', options.size, 10) * MB,
    intervalMs: config.replicaIntervalMs,
    retentionDays: daysOf(config.replicaRetention),
    rehearsals: config.replicaRehearsals,
  };
  const prices = {
    puts: readNumber('--price-of-puts', options.priceOfPuts, PRICES.puts),
    gets: readNumber('--price-of-gets', options.priceOfGets, PRICES.gets),
    storage: readNumber('--price-of-storage', options.priceOfStorage, PRICES.storage),
  };
  const costs = readCounts(options.tenants).map(tenants => replicaCost({ ...load, tenants }, prices));
  const result = { ...load, prices, costs };
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : asText(costs, options));
  return 0;
}

function asText(
  costs: readonly ReplicaCost[],
  { commits = '0.1', bytes = '1000', size = '10' }: ReplicaCostOptions,
): string {
  const dollars = (value: number) => value.toFixed(2);
  const rows = costs.map(cost => [
    String(cost.tenants),
    String(cost.puts),
    String(cost.gets),
    (cost.storedBytes / 1e9).toFixed(1),
    ...[cost.requestsDollars, cost.storageDollars, cost.dollars].map(dollars),
  ]);
  const columns = ['tenants', 'PUT', 'GET', 'GB at most', '$ requests', '$ storage', '$ a month'];
  const note = `Each tenant: ${size} MB, ${commits} commits a second of ${bytes} bytes as stored. No LIST. Reading back, and traffic that a provider bills, come on top.\n`;
  return formatTable(columns, rows) + note;
}

function readCounts(text = '100,1000,10000'): readonly number[] {
  const counts = text.split(',').map(Number);
  if (counts.every(count => Number.isSafeInteger(count) && count > 0) && counts.length <= 20) return counts;
  throw new UsageError('--tenants takes up to 20 whole numbers with commas between them.');
}

function readNumber(name: string, text: string | undefined, initial: number): number {
  const value = text === undefined ? initial : Number(text);
  if (text !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new UsageError(`${name} takes a number that is not negative.`);
}

/** Days of `12h` or `30d`. */
function daysOf(retention: string): number {
  const count = Number.parseInt(retention, 10);
  return (count * (retention.endsWith('h') ? 3_600_000 : DAY_MS)) / DAY_MS;
}
