import { fileURLToPath } from 'node:url';
import { spawnProcess, startStack, withoutSettings } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';

const IMPORT = fileURLToPath(new URL('../../apps/kanban/dist/import-example/main.js', import.meta.url));

/** Rows of the tables in vega-datasets 3.2.1, counted there. */
const ROWS = {
  airports: 3_376,
  birdstrikes: 10_000,
  football: 6_508,
  movies: 3_201,
  'seattle-weather': 1_461,
  zipcodes: 42_049,
  'flights-200k': 200_000,
};

async function runImport(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  await using program = await spawnProcess(process.execPath, [IMPORT, ...args], {
    env: { ...withoutSettings(), ...env },
  });
  const { code } = await program.exited;
  return { code, stdout: program.stdout(), stderr: program.stderr() };
}

it('imports every row of all tables, with types, into a stack that is given', async () => {
  await using stack = await startStack();
  const { code, stdout, stderr } = await runImport([], {
    ONEWRITER_REDIS_URL: stack.redisUrl,
    ONEWRITER_DATA_DIR: stack.dataDir,
  });
  expect(code, stdout + stderr).toBe(0);
  console.log(stdout);
  for (const [name, rows] of Object.entries(ROWS)) {
    expect(stdout).toMatch(
      new RegExp(`^vega-${name} +${rows} +${rows} +\\d+ +[0-9a-f]{16} +kept +same$`, 'm'),
    );
  }
  expect(stdout).toContain('read back by file');

  // Some known values, past all code of the import: what a person would look up in the source.
  const open = (tenant: string) => {
    const file = `${stack.dataDir}/tenants/vega-${tenant}/tenant.db`;
    return new Database(file, { readonly: true, fileMustExist: true });
  };
  const look = (tenant: string, sql: string) => {
    const database = open(tenant);
    try {
      return database.prepare(sql).all();
    } finally {
      database.close();
    }
  };
  expect(look('airports', `SELECT name, latitude FROM airports WHERE iata = 'DBN'`)).toEqual([
    { name: 'W. H. "Bud" Barron', latitude: 32.56445806 },
  ]);
  expect(
    look('zipcodes', `SELECT zip_code, typeof(zip_code) AS t FROM zipcodes WHERE source_row = 1`),
  ).toEqual([{ zip_code: '00501', t: 'text' }]);
  expect(
    look(
      'movies',
      `SELECT Title, typeof(Title) AS t, "US DVD Sales" AS dvd, "Release Date" AS date FROM movies
        WHERE source_row = 1 OR Title = 1776 ORDER BY source_row`,
    ),
  ).toEqual([
    { Title: 'The Land Girls', t: 'text', dvd: null, date: '1998-06-12' },
    { Title: 1776, t: 'integer', dvd: null, date: '1972-11-09' },
  ]);
  expect(look('movies', `SELECT typeof("IMDB Rating") AS t, COUNT(*) AS n FROM movies GROUP BY 1`)).toEqual([
    { t: 'null', n: 213 },
    { t: 'real', n: 2_988 },
  ]);
  expect(look('flights-200k', `SELECT SUM(delay) AS delay, MAX(time) AS time FROM "flights-200k"`)).toEqual([
    { delay: 1_500_159, time: 23.983333333333334 },
  ]);
});

it('starts a stack of its own where none is given, and leaves nothing of it behind', async () => {
  const { code, stdout, stderr } = await runImport(['seattle-weather']);
  expect(code, stdout + stderr).toBe(0);
  expect(stdout).toMatch(/^vega-seattle-weather +1461 +1461 /m);
  const folder = /from (\S+)\.$/m.exec(stdout)![1]!;
  expect(
    () => new Database(`${folder}/tenants/vega-seattle-weather/tenant.db`, { fileMustExist: true }),
  ).toThrow();
});

it('refuses a table that does not exist, and half a stack', async () => {
  expect(await runImport(['nothing'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('airports'),
  });
  const half = await runImport([], { ONEWRITER_REDIS_URL: 'redis://127.0.0.1:1' });
  expect(half).toMatchObject({ code: 1, stderr: expect.stringContaining('or neither') });
});
