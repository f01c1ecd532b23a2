import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startRoundTrips } from './round-trip.ts';

/*
 * `npm run test:dumps -- --schemas 400 [--from 0] [--sqlite3 <program>]`: makes databases, exports them, loads the exports
 * here and with the sqlite3 shell, and compares. Ends with 1 where something differs.
 */

const { values } = parseArgs({
  options: {
    schemas: { type: 'string', default: '400' },
    from: { type: 'string', default: '0' },
    sqlite3: { type: 'string', default: 'sqlite3' },
  },
});
const from = Number(values.from);
const schemas = Number(values.schemas);
const data = await mkdtemp(join(tmpdir(), 'onewriter-dumps-'));
let different = 0;
let tables = 0;
try {
  await using trips = await startRoundTrips(data, values.sqlite3);
  for (let seed = from; seed < from + schemas; seed++) {
    const { features, encoding, differences, imported, loadedHere } = await trips.run(seed, true);
    tables += imported;
    if (!loadedHere) process.stdout.write(`seed ${seed}: too large for a script\n`);
    if (differences.length === 0) continue;
    different++;
    process.stdout.write(
      `seed ${seed} (${encoding}; ${features.join(', ')}):\n  ${differences.join('\n  ')}\n`,
    );
  }
} finally {
  await rm(data, { recursive: true, force: true });
}
process.stdout.write(
  `${schemas - different} of ${schemas} schemas equal, ${different} different; ${tables} tables through NDJSON\n`,
);
process.exitCode = different === 0 ? 0 : 1;
