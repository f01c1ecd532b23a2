import { connect } from '@onewriter/sdk';
import { SingleBar } from 'cli-progress';
import { importTable } from './import-table.ts';
import { readSource } from './read-source.ts';
import { formatReport, type TableReport } from './report.ts';
import { openStack } from './stack.ts';
import { TABLES, type TableDefinition, TENANT_PREFIX } from './table-definition.ts';
import { verifyTable } from './verify-table.ts';

/*
 * Imports real tables, one tenant each, and compares what is in the files with the source. Exits with 1 where
 * anything differs. Progress goes to standard error, the report to standard output.
 */

const wanted = process.argv.slice(2);
const unknown = wanted.filter(name => !TABLES.some(table => table.name === name));
if (unknown.length > 0) {
  console.error(`No such table: ${unknown.join(', ')}. There are: ${TABLES.map(t => t.name).join(', ')}.`);
  process.exit(2);
}

await using stack = await openStack();
await using onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir, logger: console });
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, async () => {
    await onewriter.close({ timeoutMs: 2_000 });
    await stack.close();
    process.exit(130);
  });
}

const reports: TableReport[] = [];
for (const table of TABLES) {
  if (wanted.length === 0 || wanted.includes(table.name)) reports.push(await importAndVerify(table));
}
console.log(formatReport(reports, { dataDir: stack.dataDir, reads: onewriter.readRoute }));
process.exitCode = reports.every(report => report.verification.ok) ? 0 : 1;

async function importAndVerify(table: TableDefinition): Promise<TableReport> {
  const rows = await readSource(table);
  const tenant = onewriter.tenant(TENANT_PREFIX + table.name);
  const bar = new SingleBar({
    format: `${table.name.padEnd(16)} {bar} {percentage}% {value}/{total} rows, {duration_formatted}`,
    barsize: 30,
    hideCursor: true,
    clearOnComplete: false,
    noTTYOutput: false,
  });
  bar.start(rows.length, 0);
  const startedMs = performance.now();
  try {
    await importTable(tenant, table, rows, { onWritten: () => bar.increment() });
  } finally {
    bar.stop();
  }
  const importMs = performance.now() - startedMs;
  const verification = await verifyTable(tenant, table, rows);
  return { table: table.name, tenant: tenant.id, importMs, verification };
}
