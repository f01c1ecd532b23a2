/**
 * The properties of a row that is an object, one per column. Where names are equal, the last column has the name itself, as in
 * better-sqlite3, and those before it, which an object would lose, are `name:1`, `name:2` in order. Nothing else in an
 * answer would show that there were more values than properties.
 * @returns the columns themselves where no name comes twice
 */
export function toRowKeys(columns: readonly string[]): readonly string[] {
  const last = new Map(columns.map((name, index) => [name, index]));
  if (last.size === columns.length) return columns;
  const taken = new Set(columns);
  /** Where the search for each name continues: a thousand equal names are few steps each. */
  const next = new Map<string, number>();
  return columns.map((name, index) => {
    if (last.get(name) === index) return name;
    for (let count = next.get(name) ?? 1; ; count++) {
      const key = `${name}:${count}`;
      if (taken.has(key)) continue;
      taken.add(key);
      next.set(name, count + 1);
      return key;
    }
  });
}

/** A row as an object with these keys. @param write how a value is written */
export function toRowObject<From, To>(
  keys: readonly string[],
  row: readonly From[],
  write: (value: From) => To,
): Record<string, To> {
  const object: Record<string, To> = {};
  for (let index = 0; index < keys.length; index++) {
    const key = keys[index]!;
    const value = write(row[index]!);
    if (key !== '__proto__') object[key] = value;
    else Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });
  }
  return object;
}
