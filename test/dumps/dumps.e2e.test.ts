import { temporaryDirectory } from '@onewriter/testkit';
import { expect, it, onTestFinished } from 'vitest';
import { FEATURES } from './features.ts';
import { startRoundTrips } from './round-trip.ts';

/** `npm run test:dumps -- --schemas 400` runs more. */
const SCHEMAS = 20;
/** One in so many also goes through NDJSON. */
const ROWS_EVERY = 3;
/** As many at a time as a gateway exports, so that none is refused. */
const AT_ONCE = 3;

it('exports load to an equal database, here and with the sqlite3 shell', async () => {
  const data = await temporaryDirectory('dumps');
  onTestFinished(() => data.remove());
  await using trips = await startRoundTrips(data.path);
  const seen = new Set<string>();
  let imported = 0;
  let next = 0;
  const runAll = async () => {
    while (next < SCHEMAS) {
      const seed = next++;
      const trip = await trips.run(seed, seed % ROWS_EVERY === 0);
      expect(trip.differences, `seed ${trip.seed}: ${trip.features}`).toEqual([]);
      for (const feature of trip.features) seen.add(feature);
      imported += trip.imported;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, runAll));
  expect([...seen].sort()).toEqual(Object.keys(FEATURES).sort());
  expect(imported).toBeGreaterThan(SCHEMAS / ROWS_EVERY);
}, 240_000);
