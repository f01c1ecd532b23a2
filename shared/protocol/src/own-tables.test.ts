import { describe, expect, it } from 'vitest';
import {
  isOwnTable,
  isWithoutOwnTable,
  type OwnNames,
  readOwnTables,
  readOwnTablesLater,
} from './own-tables.ts';

/** A file with tables of these names, one for each read. */
function fileWith(...prefixes: readonly string[]): (names: OwnNames) => string {
  const states = [...prefixes];
  return names => {
    const table = names('sqlite_onewriter_ledger');
    if (table === `${states.shift()}ledger`) return table;
    throw new Error(`no such table: ${table}`);
  };
}

describe("a read of the writer's tables", () => {
  it.each([
    ['the current names', ['sqlite_onewriter_'], 'sqlite_onewriter_ledger'],
    ['the names of format 2', ['_onewriter_', '_onewriter_'], '_onewriter_ledger'],
    [
      'names that a broker changes meanwhile',
      ['_onewriter_', 'sqlite_onewriter_', 'sqlite_onewriter_'],
      'sqlite_onewriter_ledger',
    ],
  ])('finds %s', async (_, states, found) => {
    expect(readOwnTables(fileWith(...states))).toBe(found);
    const read = fileWith(...states);
    expect(await readOwnTablesLater(async names => read(names))).toBe(found);
  });

  it('fails where no broker has opened the file, and with any other error at once', async () => {
    const error = (() => {
      try {
        return readOwnTables(fileWith('', '', ''));
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(isWithoutOwnTable(error)).toBe(true);
    let reads = 0;
    const broken = () => {
      reads++;
      throw new Error('no such table: theirs');
    };
    expect(() => readOwnTables(broken)).toThrow('theirs');
    await expect(readOwnTablesLater(async () => broken())).rejects.toThrow('theirs');
    expect(reads).toBe(2);
  });
});

it("knows the writer's tables by name", () => {
  for (const name of ['sqlite_onewriter_keys', '_OneWriter_x']) expect(isOwnTable(name)).toBe(true);
  for (const name of ['onewriter_keys', 'sqlite_sequence', 'sqlite_onewriter'])
    expect(isOwnTable(name)).toBe(false);
});
