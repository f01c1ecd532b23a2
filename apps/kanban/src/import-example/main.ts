import { connect, isOnewriterError, type Onewriter } from '@onewriter/sdk';
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

async function main(wanted: readonly string[]): Promise<number> {
  const unknown = wanted.filter(name => !TABLES.some(table => table.name === name));
  if (unknown.length > 0) {
    const known = TABLES.map(table => table.name).join(', ');
    console.error(`No such table: ${unknown.join(', ')}. There are: ${known}.`);
    return 2;
  }
  const tables = wanted.length === 0 ? TABLES : TABLES.filter(table => wanted.includes(table.name));
  await using stack = await openStack();
  await using onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir, logger: console });
  const interrupted = whenInterrupted();
  const reports: TableReport[] = [];
  for (const table of tables) {
    // What is under way at Ctrl-C is left behind; closing the client settles it.
    const report = await Promise.race([importAndVerify(onewriter, table), interrupted]);
    if (report === 'interrupted') return 130;
    reports.push(report);
  }
  console.log(formatReport(reports, { dataDir: stack.dataDir, reads: onewriter.readRoute }));
  return reports.every(report => report.verification.ok) ? 0 : 1;
}

function whenInterrupted(): Promise<'interrupted'> {
  return new Promise(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve('interrupted'));
  });
}

async function importAndVerify(onewriter: Onewriter, table: TableDefinition): Promise<TableReport> {
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

main(process.argv.slice(2)).then(
  code => {
    process.exitCode = code;
  },
  error => {
    console.error(isOnewriterError(error) ? `${error.code}: ${error.message}` : error.message);
    process.exitCode = 1;
  },
);
